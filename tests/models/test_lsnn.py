"""The LSNN: e-prop's golden gradients, decision steps, penalties, sizes, rates at the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.errors import DataError, RecipeError
from neurozoo.models.authors_weights import load_authors_weights
from neurozoo.models.build import build_model, open_experiment
from neurozoo.models.lsnn import LSNN
from neurozoo.nn.neuron_choices import LIF, PLIF
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.training.initialisation import initialise_fluctuation_driven
from neurozoo.training.train import train

GOLDEN = Path(__file__).parents[1] / "golden" / "zoo" / "lsnn_alif.safetensors"


def problem(task: Task, inputs: int = 12, length: int = 20) -> Problem:
    return Problem({"spikes": SignalShape((inputs,), length)}, task)


def classes(count: int = 2, per_step: bool = False) -> Task:
    return Multiclass([f"class {k}" for k in range(count)], per_step)


def lsnn(of: Problem, choice: Any = None, **params: Any) -> LSNN:
    torch.manual_seed(0)
    return LSNN(of, lambda slot: choice, TorchNeuron, **{"regular": 4, "adaptive": 4, "refractory": 2, **params})


def batch(of: Problem, size: int = 3, valid: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    (shape,) = of.signals.values()
    spikes = (torch.rand(size, shape.length, shape.dim, generator=generator) < 0.3).float()
    lead = (size, shape.length) if of.task.per_step else (size,)
    return Batch({"spikes": Signal(spikes, valid)}, of.task.made_up(*lead, generator=generator))


@pytest.fixture(scope="module")
def golden() -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(GOLDEN, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def test_e_prop_gives_the_published_gradients(golden: tuple[dict[str, Tensor], dict[str, str]]) -> None:
    tensors, header = golden
    x, labels = tensors["batch2/x"], tensors["batch2/labels"]
    of = problem(classes(), x.shape[2], x.shape[1])
    model = lsnn(
        of,
        regular=12,
        adaptive=12,
        tau_adaptation=200.0,
        adaptation=float(header["beta"]),
        refractory=3,
        decision_steps=15,
        rate_over="sum",
        gradient="e-prop",
    ).train()
    taken = load_authors_weights(model, {name: tensors[f"weights/{name}"] for name in ("w_in", "w_rec", "w_out")})
    outputs = model(Batch({"spikes": Signal(x)}, labels))
    loss = of.task.loss(outputs, labels) + sum(model.losses(labels).values())
    loss.backward()
    torch.testing.assert_close(outputs, tensors["batch2/train/logits"], rtol=0, atol=1e-6)
    assert float(loss.detach()) == pytest.approx(float(tensors["batch2/train/loss"]), rel=1e-6)
    for here, theirs in taken.names.items():
        want, got = tensors[f"batch2/grad_eprop/{theirs}"], model.get_parameter(here).grad
        assert got is not None
        assert float((got.T - want).abs().max()) <= 1e-5 * float(want.abs().max()), theirs
        bptt = tensors[f"batch2/grad/{theirs}"]
        if theirs != "w_out":
            assert float((got.T - bptt).abs().max()) > 1e-3 * float(bptt.abs().max()), "e-prop is not BPTT"


def test_its_formula_gives_the_published_adaptation(golden: tuple[dict[str, Tensor], dict[str, str]]) -> None:
    model = lsnn(problem(classes()), tau_adaptation=200.0)
    used = model.recurrent.params()["adaptation"]
    assert used[:4].tolist() == [0.0] * 4
    torch.testing.assert_close(used[4:], torch.full((4,), float(golden[1]["beta"])))


def test_its_published_size_has_its_parameters() -> None:
    variant = LSNN.variants["lsnn-evidence"]
    of = problem(classes(variant.outputs), *variant.shape, variant.length)
    model = lsnn(of, **{"regular": 50, "adaptive": 50, **variant.params})
    assert sum(each.numel() for each in model.parameters()) == variant.parameters == 14_200


def test_the_loss_is_that_of_the_deciding_steps_alone() -> None:
    of = problem(classes())
    model, given = lsnn(of, decision_steps=4, rate_weight=0.0).train(), batch(of)
    assert given.target is not None
    with recorded(model) as firings:
        outputs = model(given)
    steps = firings["head"].spikes[-4:]
    torch.testing.assert_close(outputs, steps.mean(0))
    terms = model.losses(given.target)
    want = of.task.loss(steps.flatten(0, 1), given.target.repeat(4))
    torch.testing.assert_close(of.task.loss(outputs, given.target) + terms["decision"], want)
    model = lsnn(of, decision_steps=4, decision_loss="mean").train()
    model(given)
    assert list(model.losses(given.target)) == ["rate_penalty"]


def test_deciding_steps_are_the_last_valid_ones() -> None:
    of = problem(classes())
    model, whole = lsnn(of, decision_steps=4).eval(), batch(of)
    valid = torch.ones(3, 20, dtype=torch.bool)
    valid[1, :9] = False
    valid[2, 2:] = False
    padded = Batch({"spikes": Signal(whole.signals["spikes"].values, valid)}, whole.target)
    outputs = model(padded)
    for sample in range(3):
        alone = whole.signals["spikes"].values[sample : sample + 1, valid[sample]]
        torch.testing.assert_close(outputs[sample], model(Batch({"spikes": Signal(alone)}))[0])


@pytest.mark.parametrize("gradient", ["bptt", "e-prop"])
def test_the_penalty_draws_rates(gradient: str) -> None:
    of = problem(classes())
    given = batch(of)
    assert given.target is not None
    found = {}
    for over in ("mean", "sum"):
        model = lsnn(of, rate=0.05, rate_weight=2.0, rate_over=over, gradient=gradient).train()
        model(given)
        found[over] = model.losses(given.target)["rate_penalty"]
        found[over].backward()
        assert model.recurrent.synapse.weight.grad.any()
    with torch.no_grad(), recorded(model.eval()) as firings:
        model(given)
    away = (firings["recurrent"].spikes.mean((0, 1)) - 0.05).square()
    torch.testing.assert_close(found["mean"].detach(), 2 * away.mean())
    torch.testing.assert_close(found["sum"].detach(), 2 * away.sum())


@pytest.mark.parametrize(
    "task",
    [
        classes(3),
        classes(3, per_step=True),
        Multilabel(["a", "b"]),
        Regression(["a", "b"]),
        Regression(["a"], per_step=True),
    ],
    ids=lambda task: f"{task.name}-{task.per_step}",
)
@pytest.mark.parametrize("gradient", ["bptt", "e-prop", "e-prop-random"])
def test_any_task_learns_by_any_gradient(task: Task, gradient: str) -> None:
    of = problem(task)
    model, given = lsnn(of, regular=16, adaptive=16, gradient=gradient, rate=0.1).train(), batch(of)
    assert given.target is not None
    if task.per_step:  # one answer for all steps of a sample
        given = replace(given, target=given.target[:, :1].expand_as(given.target))
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.02), []
    for _ in range(25):
        optimizer.zero_grad()
        loss = task.loss(model(given), given.target) + sum(model.losses(given.target).values())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_other_neurons_take_their_place_and_some_are_refused() -> None:
    of = problem(classes())
    model = lsnn(of, LIF(tau=4.0, detach_reset=True), gradient="e-prop").train()
    assert model.recurrent.spec.kind == "lif"
    model(batch(of)).sum().backward()
    with pytest.raises(DataError, match="plif neurons have no eligibility traces"):
        lsnn(of, PLIF(), gradient="e-prop")


def test_impossible_sizes_are_refused_by_name() -> None:
    def recipe(**params: Any) -> None:
        overrides = [f"model.params.{name}={value}" for name, value in params.items()]
        load_recipe("lsnn_evidence", overrides, registry=default_registry())

    with pytest.raises(RecipeError, match="no neurons"):
        recipe(regular=0, adaptive=0)
    with pytest.raises(RecipeError, match=r"tau"):
        recipe(tau=0.0)
    assert list(LSNN.check_params(problem(classes(2, True)), regular=1, adaptive=0, decision_steps=3))


def test_no_layer_is_silent_or_saturated_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))
    small = "data.instead={name: evidence-synthetic, params: {step: 10, size: 32}}"
    recipe = load_recipe("lsnn_evidence", [small])
    experiment = open_experiment(recipe)
    data = next(iter(experiment.view.batches("train", 16)))
    for calibrated in (False, True):
        model = build_model(recipe, experiment.problem)
        if calibrated:
            initialise_fluctuation_driven(model, data, 0.1)
        with recorded(model.eval()) as firings, torch.no_grad():
            model(data)
        assert 0.01 <= float(firings["recurrent"].spikes.mean()) <= 0.5


@pytest.mark.parametrize("gradient", ["bptt", "e-prop", "e-prop-random"])
def test_its_recipe_trains(gradient: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "data"))
    small = "data.instead={name: evidence-synthetic, params: {step: 25, size: 64}}"
    train(
        "lsnn_evidence",
        small,
        "training.epochs=1",
        "model.params.decision_steps=6",
        f"model.params.gradient={gradient}",
        out=tmp_path / "run",
    )
    assert (tmp_path / "run" / "summary.json").exists()
