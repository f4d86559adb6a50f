"""Training in segments of steps: the loss, gradients, rates and penalties of the whole, and who cannot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.errors import RecipeError, UserError
from neurozoo.evaluation.health import firing_rates
from neurozoo.models.build import build_model, expected_problem
from neurozoo.nn import carried
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper
from neurozoo.training.train import resume, train

PENALTIES = (
    "[{name: target, rate: 0.05, weight: 0.1}, {name: total, weight: 0.001}, {name: operations, weight: 5.0},"
    " {name: total-squared, weight: 0.0001, over: mean}]"
)


FORMS = {
    "recurrent": ("spiking_recurrent", ["model.params.hidden=[9, 7]"]),
    "per step": ("spiking_recurrent_steps", []),
    "cuba-mlp": ("cuba_mlp", []),
    "lsnn": ("lsnn_evidence", ["model.params.gradient=bptt"]),
    "cuba-rsnn": (
        "cuba_rsnn_braille",
        ["model.params={readout: max, hidden: 9, encoder: 3, squares_weight: 0.01, spikes_weight: 0.001}"],
    ),
}
STEPS, SAMPLES = 23, 3


def made(name: str, *changes: str) -> tuple[Model, Recipe]:
    recipe = load_recipe(name, [*changes], registry=default_registry())
    torch.manual_seed(0)
    if recipe.data.expect:
        return build_model(recipe, expected_problem(recipe)[0]), recipe
    task = Multiclass(["a", "b", "c"], recipe.name.endswith("steps"))
    return build_model(recipe, Problem({"x": SignalShape((40,), STEPS)}, task)), recipe


def batch(model: Model, padded: bool) -> Batch:
    generator = torch.Generator().manual_seed(1)
    ((name, shape),) = model.problem.signals.items()
    x = (torch.rand(SAMPLES, STEPS, shape.dim, generator=generator) < 0.4).float() * 6
    valid = torch.arange(STEPS) < torch.tensor([[STEPS], [11], [4]]) if padded else None
    per_step = model.problem.task.per_step
    lead = (SAMPLES, STEPS) if per_step else (SAMPLES,)
    target = model.problem.task.made_up(*lead, generator=generator)
    return Batch({name: Signal(x, valid)}, target, valid if per_step else None)


def step(model: Model, recipe: Recipe, given: Batch) -> tuple[dict[str, float], dict[str, Tensor]]:
    """What a step logs, and its gradients."""
    model.train()
    torch.manual_seed(2)
    with closing(Stepper(model, make_optimizer(recipe, model), recipe)) as stepper:
        stepper.clear()
        values = {name: float(value) for name, value in stepper.add(given).items()}
    return values, {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("form", FORMS)
def test_a_step_is_that_of_the_whole(form: str, padded: bool) -> None:
    name, changes = FORMS[form]
    changes = [*changes, f"training.penalties={PENALTIES}", f"backend={'numba' if padded else 'torch'}"]
    model, recipe = made(name, *changes)
    given = batch(model, padded)
    values, gradients = step(model, recipe, given)
    assert values["rate"] > 0
    for length in ("auto", "7"):
        others, found = step(model, load_recipe(recipe, [f"training.recompute={length}"]), given)
        assert others == pytest.approx(values, rel=1e-5, abs=1e-7)
        assert found.keys() == gradients.keys()
        for key, each in found.items():
            scale = float(gradients[key].abs().max())
            torch.testing.assert_close(each, gradients[key], rtol=1e-4, atol=1e-5 * max(scale, 1e-3), msg=key)


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
def test_eprop_counts_the_spikes_of_all_steps(padded: bool) -> None:
    changes = [f"training.penalties={PENALTIES}", "backend=torch"]
    model, recipe = made("lsnn_evidence", *changes, "model.params.gradient=bptt")
    given = batch(model, padded)
    values, _ = step(model, recipe, given)
    model, recipe = made("lsnn_evidence", *changes, "model.params.gradient=e-prop")
    others, _ = step(model, recipe, given)
    assert values["rate"] > 0
    assert others == pytest.approx(values, rel=1e-5, abs=1e-7)


def test_what_is_dropped_in_the_forward_is_dropped_in_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [
        "model.params.hidden=[9, 7]",
        "model.params.dropout=0.5",
        "training.recompute=5",
        "backend=torch",
    ]
    model, recipe = made("spiking_recurrent", *changes)
    given = batch(model, padded=False)
    values, gradients = step(model, recipe, given)

    def with_graph(run: Any, x: Any, state: Any, length: int) -> tuple[Any, Any]:
        outputs = []
        for begin in range(0, STEPS, length):
            part = tree_map(lambda each: None if each is None else each[begin : begin + length], x)  # noqa: B023
            output, state = run(part, state)
            outputs.append(output)
        return torch.cat(outputs), state

    monkeypatch.setattr(carried, "in_segments", with_graph)
    others, found = step(model, recipe, given)
    assert others == pytest.approx(values)
    for key, each in found.items():
        torch.testing.assert_close(each, gradients[key], rtol=1e-4, atol=1e-7)


def test_recorders_get_means_and_evaluation_keeps_its_spikes() -> None:
    model, recipe = made("spiking_recurrent", "model.params.hidden=[9]", "backend=torch")
    given = batch(model, padded=True)
    model.train()
    with recorded(model) as firings:
        model(given)
        whole = dict(firings)
        with closing(Stepper(model, make_optimizer(recipe, model), load_recipe(recipe, ["training.recompute=4"]))):
            model(given)
            means = dict(firings)
            with torch.no_grad():
                model(given)
            assert len(firings["layers.0"].spikes) == STEPS
        model(given)
        assert len(firings["layers.0"].spikes) == STEPS
    one, other = whole["layers.0"], means["layers.0"]
    assert other.spikes.shape == (1, SAMPLES, 9)
    torch.testing.assert_close(firing_rates(other), firing_rates(one))
    assert one.valid is not None
    mean = (one.currents * one.valid[..., None]).sum(0) / one.valid.sum(0)[:, None]
    torch.testing.assert_close(other.currents[0], mean.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("sparch_shd_corrected", [], "SparCH cannot train in segments of steps: layers.0.synapse.norm normalises over"),
        ("dcls_delays_shd_corrected", [], "DelayNet cannot"),
        ("spikformer_cifar10_corrected", [], "Spikformer cannot train in segments of steps: it reads"),
        (
            "lsnn_evidence",
            ["model.params.gradient=e-prop"],
            "LSNN cannot .* e-prop keeps no steps in any case; leave",
        ),
        (
            "smile_mosei_corrected",
            [],
            "it reads a sample whole, and its positions are no steps; leave it",
        ),
    ],
)
def test_who_cannot_is_refused(name: str, changes: list[str], words: str) -> None:
    model, recipe = made(name, *changes, "training.recompute=auto")
    with pytest.raises(UserError, match=words):
        Stepper(model, make_optimizer(recipe, model), recipe)


def test_the_recipe_refuses_what_does_not_go_together() -> None:
    with pytest.raises(RecipeError, match="would trace all steps as one; leave out one of both"):
        load_recipe("spiking_recurrent", ["training.recompute=auto", "training.compile=true"])
    with pytest.raises(RecipeError, match="recompute"):
        load_recipe("spiking_recurrent", ["training.recompute=0"])


def test_a_resumed_run_is_that_of_one_go(
    tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    small = "data={name: none-here, instead: {name: spikes-synthetic, params: {size: 40, length: 12}}}"
    changes = [small, "training.epochs=2", "training.batch_size=8", "training.checkpoint_steps=1", "backend=torch"]
    more = ["model.params.hidden=[8]", "model.params.dropout=0.3", "training.recompute=5"]
    recipe = load_recipe("spiking_recurrent", [*changes, *more], registry=default_registry())
    train(recipe, out=tmp_path / "whole")
    with interrupted_at(3):
        train(recipe, out=tmp_path / "run")
    resume(tmp_path / "run")
    assert Run(tmp_path / "run").last.read_bytes() == Run(tmp_path / "whole").last.read_bytes()
