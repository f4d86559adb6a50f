"""Every fusion with every label head: built, stepped and evaluated, on torch and on every other backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

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
BACKENDS = REGISTRY.usable_backends()
QUICK_HEADS, QUICK_FUSIONS = ("label-decoder", "pooled"), ("concat", "misa")
"""What each fusion, and each head, is combined with in a quick run."""


def combinations() -> Iterator[Any]:
    """Every fusion with every head on torch; on other backends, which run no head, every fusion and every head."""
    for fusion, head, backend in product(FUSIONS, HEADS, BACKENDS):
        quick = head in QUICK_HEADS or fusion in QUICK_FUSIONS
        if backend == "torch" or head in QUICK_HEADS or fusion == "concat":
            yield pytest.param(fusion, head, backend, marks=[pytest.mark.slow] * (backend != "torch" or not quick))


@pytest.mark.parametrize(("fusion", "head", "backend"), list(combinations()))
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
    parts = nn.ModuleDict({"fusion": model.fusion, "head": model.head})
    before = {name: value.detach().clone() for name, value in parts.named_parameters()}
    values = train_step(model.train(), batch, make_optimizer(chosen, model), chosen)
    assert all(torch.isfinite(value) for value in values.values())
    after = dict(parts.named_parameters())
    stuck = [name for name, value in before.items() if torch.equal(value, after[name])]
    of_fusion, of_head = ([name for name in stuck if name.startswith(part)] for part in ("fusion", "head"))
    # relus and a head's start may hide some parameters in one step, and never most
    assert len(of_fusion) <= len(list(model.fusion.parameters())) / 4, of_fusion
    # and what chooses between rows learns nothing from the one row of a fusion of vectors
    assert len(of_head) < len(list(model.head.parameters())), of_head
    with torch.no_grad():
        together = model.eval()(batch)
    assert together.shape == (4, len(experiment.problem.task.outputs))
    assert torch.isfinite(together).all()
