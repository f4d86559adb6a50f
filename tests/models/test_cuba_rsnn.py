"""SpyTorch's recurrent net: its quirks and their corrected forms, latency, penalties, sizes, rates at the start."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.models.build import build_model, expected_problem
from neurozoo.models.cuba_rsnn import CubaRSNN, LateResetSpec
from neurozoo.nn.neuron_choices import LIF
from neurozoo.recipe.recipe import load_recipe
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.training.initialisation import initialise_fluctuation_driven


def problem(task: Task | None = None, inputs: int = 6, length: int = 20) -> Problem:
    task = task or Multiclass([f"class {k}" for k in range(3)])
    return Problem({"x": SignalShape((inputs,), length)}, task)


def net(of: Problem | None = None, choice: Any = None, **params: Any) -> CubaRSNN:
    torch.manual_seed(0)
    params = {"hidden": 10, "weight_scale": 3.0, "surrogate_slope": 5.0, **params}
    return CubaRSNN(of or problem(), lambda slot: choice, TorchNeuron, **params)


def batch(of: Problem, size: int = 3, valid: Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(1)
    (shape,) = of.signals.values()
    x = torch.randn(size, shape.length, shape.dim, generator=generator)
    lead = (size, shape.length) if of.task.per_step else (size,)
    return Batch({"x": Signal(x, valid)}, of.task.made_up(*lead, generator=generator))


@pytest.mark.parametrize("name", ["cuba-rsnn-shd", "cuba-rsnn-braille"])
def test_its_published_sizes_have_their_parameters(name: str) -> None:
    variant = CubaRSNN.variants[name]
    of = problem(Multiclass([f"class {k}" for k in range(variant.outputs)]), *variant.shape, variant.length)
    published = {quirk: each.published for quirk, each in CubaRSNN.quirks.items()}
    model = CubaRSNN(of, lambda slot: None, TorchNeuron, **variant.params, **published)
    assert sum(each.numel() for each in model.parameters()) == variant.parameters


@pytest.mark.parametrize(("latency", "later"), [("kept", 3), ("compensated", 0)])
@pytest.mark.parametrize(("choice", "own"), [(None, 2), (LIF(tau=1.1, detach_reset=True), 0)], ids=["cuba", "lif"])
def test_an_input_reaches_the_output_some_steps_later(latency: str, later: int, choice: Any, own: int) -> None:
    """The output at a position is O after the step, which an input of published neurons changes four steps later."""
    of = problem(Regression(["y"], True))
    model = net(of, choice, latency=latency).eval()
    x = torch.zeros(1, 20, 6)
    x[0, 5] = 30.0
    with torch.no_grad(), recorded(model) as firings:
        model.hidden.synapse.weight.abs_()
        outputs = model(Batch({"x": Signal(x)}))[0, :, 0]
    assert outputs.shape == (20,)
    fired = firings["hidden"].spikes[:, 0].any(1)
    assert int(fired.nonzero()[0]) == 5 + own
    assert int(outputs.nonzero()[0]) == 5 + (later if choice is None else min(later, 1))


def test_the_last_input_counts_in_the_corrected_form_alone() -> None:
    of = problem()
    one = batch(of)
    x = one.signals["x"].values.clone()
    x[:, -1] += 30.0
    for latency in ("compensated", "kept"):
        model = net(of, latency=latency, readout="last").eval()
        with torch.no_grad():
            same = torch.equal(model(one), model(Batch({"x": Signal(x)})))
        assert same == (latency == "kept")


def test_a_class_below_zero_has_no_gradient_as_published_and_one_in_the_corrected_form() -> None:
    of = problem()
    given, rows = batch(of), {}
    for readout in ("max-with-start", "max"):
        model = net(of, readout=readout)
        with torch.no_grad():
            model.filtered.synapse.weight[0] = -model.filtered.synapse.weight[0].abs()
        outputs = model(given)
        assert given.target is not None
        of.task.loss(outputs, given.target).backward()
        rows[readout] = outputs[:, 0].detach(), model.filtered.synapse.weight.grad[0]
    assert rows["max-with-start"][0].eq(0).all()
    assert not rows["max-with-start"][1].any()
    assert rows["max"][0].lt(0).all()
    assert rows["max"][1].any()


def test_of_equal_maxima_the_earliest_has_the_gradient() -> None:
    from neurozoo.models.cuba_rsnn import _first_max

    outputs = torch.tensor([[-1.0], [2.0], [2.0], [0.5]])[:, None].requires_grad_()
    _first_max(outputs, None).sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.flatten().tolist() == [0, 1, 0, 0]
    valid = torch.tensor([[True], [False], [False], [False]])
    assert _first_max(outputs, valid).item() == 0.0


def test_the_late_reset_lets_a_neuron_fire_twice() -> None:
    currents = torch.full((8, 1, 1), 20.0)
    late = TorchNeuron(LateResetSpec(decay=0.9, tie="silent")).scan(currents)[0].flatten().tolist()
    assert late == [0, 1, 1, 0, 0, 1, 1, 0]
    model = net(encoder=4)
    assert model.encoder is not None
    assert model.encoder.spec.kind == "lif"
    in_time = model.encoder.neuron.scan(currents)[0].flatten().tolist()
    assert in_time == [1.0] * 8


def test_channels_are_the_fastest_axis_of_the_encoder() -> None:
    model = net(encoder=2)
    assert model.encoder is not None
    x, synapse = torch.randn(5, 6), model.encoder.synapse
    want = torch.stack([synapse.gain[n] * (x[:, n % 6] + synapse.bias[n]) for n in range(12)], 1)
    torch.testing.assert_close(synapse(x), want)


def test_penalties_do_not_depend_on_the_batch_in_the_corrected_form() -> None:
    of = problem()
    one = batch(of, 2)
    twice = Batch({"x": Signal(one.signals["x"].values.repeat(2, 1, 1))}, one.target.repeat(2))  # type: ignore[union-attr]
    for over, factor in (("sample", (1, 1)), ("batch", (2, 4))):
        model, terms = net(of, spikes_weight=1.0, squares_weight=1.0, penalty_over=over), []
        for given in (one, twice):
            model(given)
            assert given.target is not None
            terms.append(model.losses(given.target))
        assert float(terms[0]["spikes"].detach()) > 0
        for name, times in zip(("spikes", "squares"), factor, strict=True):
            assert float(terms[1][name].detach()) == pytest.approx(times * float(terms[0][name].detach()))


@pytest.mark.parametrize("kept", ["kept", "none"])
def test_the_penalty_has_a_gradient_in_the_corrected_form(kept: str) -> None:
    of = problem()
    model, given = net(of, spikes_weight=1.0, penalty_gradient=kept), batch(of)
    model(given)
    assert given.target is not None
    assert model.losses(given.target)["spikes"].requires_grad == (kept == "kept")
    assert model.losses(given.target) == {}, "there was no other forward"


def test_padding_changes_no_output() -> None:
    of = problem()
    valid = torch.ones(3, 20, dtype=torch.bool)
    valid[1, 11:] = False
    valid[2, :7] = False
    for params in ({}, {"encoder": 3}, {"readout": "max-with-start"}, {"readout": "mean"}):
        model, given = net(of, **params).eval(), batch(of, 3, valid)
        outputs = model(given)
        for sample in range(3):
            alone = given.signals["x"].values[sample : sample + 1, valid[sample]]
            torch.testing.assert_close(outputs[sample], model(Batch({"x": Signal(alone)}))[0])


@pytest.mark.parametrize(
    "task", [Multilabel(["a", "b"]), Regression(["a", "b"]), Multiclass(["a", "b"], True)], ids=lambda task: task.name
)
def test_it_answers_any_task(task: Task) -> None:
    of = problem(task)
    model, given = net(of), batch(of)
    outputs = model(given)
    assert given.target is not None
    task.loss(outputs, given.target).backward()
    assert all(each.grad is not None and each.grad.any() for each in model.parameters())


def test_other_neurons_take_the_place_of_its_own() -> None:
    model = net(None, LIF(tau=4.0))
    assert model.hidden.spec.kind == "lif"
    assert model(batch(problem())).shape == (3, 3)


@pytest.mark.parametrize("name", ["cuba_rsnn_braille", "cuba_rsnn_shd", "cuba_rsnn_shd_corrected"])
def test_its_recipes_can_be_built(name: str) -> None:
    recipe = load_recipe(name)
    model = build_model(recipe, expected_problem(recipe)[0], backend="torch")
    quirks = {each: recipe.model.params.get(each, quirk.corrected) for each, quirk in CubaRSNN.quirks.items()}
    corrected = {each: quirk.corrected for each, quirk in CubaRSNN.quirks.items()}
    if name == "cuba_rsnn_braille":
        assert quirks.pop("readout") == "mean", "it learns faster, and is neither of the two"
    assert all(corrected[each] == value for each, value in quirks.items()) == (name != "cuba_rsnn_shd")
    assert model.problem.outputs in (20, 27)


@pytest.mark.parametrize("name", ["cuba_rsnn_braille", "cuba_rsnn_shd_corrected"])
def test_no_layer_is_silent_or_saturated_at_the_start(name: str) -> None:
    recipe = load_recipe(name)
    of = expected_problem(recipe)[0]
    data = made_up(of.signals, of.task, 16, 1)
    torch.manual_seed(recipe.seed)
    model = build_model(recipe, of, backend="torch")
    initialise_fluctuation_driven(model, data, recipe.training.initialisation.firing_rate)
    with recorded(model.eval()) as firings, torch.no_grad():
        model(data)
    rates = {layer: float(firings[layer].spikes.mean()) for layer in firings if firings[layer].spikes.max() <= 1}
    assert {"hidden"} <= rates.keys()
    assert all(0.01 <= rates[layer] <= 0.5 for layer in ("hidden", "encoder") if layer in rates), rates
