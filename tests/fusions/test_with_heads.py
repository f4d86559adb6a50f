"""Every fusion with every label head: built, stepped and evaluated, on torch and on every other backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import prepare
from neurozoo.training.step import train_step

Recipes = Callable[..., Recipe]
REGISTRY = default_registry()
FUSIONS = sorted(
    name for name in REGISTRY.components("fusion") if REGISTRY.owner("fusion", name).startswith("neurozoo-t")
)
HEADS = sorted(
    name for name in REGISTRY.components("label-head") if REGISTRY.owner("label-head", name).startswith("neurozoo-t")
)
BACKENDS = [
    name if name == "torch" else pytest.param(name, marks=pytest.mark.slow) for name in REGISTRY.usable_backends()
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_step(fusion: str, head: str, backend: str, recipe: Recipes) -> None:
    # One that reads spikes takes no context, which has none; at the default start SMILE's branches are silent.
    spiking = ["model.params.context=null", "training.initialisation={name: fluctuation-driven, firing_rate: 0.2}"]
    lines = spiking if REGISTRY.resolve("fusion", fusion).needs_spikes else []
    chosen = recipe(f"model.parts.fusion={fusion}", f"model.parts.head={head}", f"backend={backend}", *lines)
    experiment = open_experiment(chosen)
    torch.manual_seed(0)
    model = experiment.build()
    prepare(model, experiment.view, chosen)
    batch = next(iter(experiment.view.batches("train", 4)))
    before = {name: value.detach().clone() for name, value in model.fusion.named_parameters()}
    values = train_step(model.train(), batch, make_optimizer(chosen, model), chosen)
    assert all(torch.isfinite(value) for value in values.values())
    after = dict(model.fusion.named_parameters())
    stuck = [name for name, value in before.items() if torch.equal(value, after[name])]
    # relus and a head's start may hide some parameters in one step, and never most
    assert len(stuck) <= len(before) / 4, stuck
    with torch.no_grad():
        together = model.eval()(batch)
    assert together.shape == (4, len(experiment.problem.task.outputs))
    assert torch.isfinite(together).all()
