"""Health of spiking layers, and lesions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import Firing, SpikingLayer, TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded
from neurozoo.core.signals import Batch, Problem, SignalShape
from neurozoo.evaluation.health import HealthMonitor, LayerHealth, firing_rates, health_warnings, lesion_effects
from neurozoo.models.smile.model import SMILE
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.training.initialisation import initialise_fluctuation_driven

SHAPES = {"audio": (6, 4), "vision": (5, 3)}


@pytest.fixture
def model(smile: Callable[..., SMILE]) -> SMILE:
    return smile({"audio": 4, "vision": 3}, ("audio", "vision"), hidden=10, spiking_inner=20)


def test_rates_by_hand() -> None:
    spikes = torch.zeros(2, 1, 3, 2)
    spikes[:, 0, 0, 0] = 1
    spikes[0, 0, 1, 1] = 1
    spikes[:, 0, 2] = 1
    mask = torch.tensor([[True, True, False]])
    everywhere = torch.ones(1, 1, 3, dtype=torch.bool)
    assert firing_rates(Firing(spikes, spikes, 1.0, mask[None])).tolist() == pytest.approx([0.5, 0.25])
    assert firing_rates(Firing(spikes, spikes, 1.0, everywhere)).tolist() == pytest.approx([4 / 6, 3 / 6])


def test_rates_of_feature_maps_by_hand() -> None:
    """Every place of a map is a neuron: nothing but steps and samples is summed."""
    spikes = torch.zeros(2, 3, 2, 2, 2)  # [T, B, C, H, W]
    spikes[:, :, 1] = 1
    spikes[0, 0, 0, 1, 1] = 1
    expected = [0, 0, 0, 1 / 6, 1, 1, 1, 1]
    assert firing_rates(Firing(spikes, spikes, 1.0)).tolist() == pytest.approx(expected)
    # Of the third sample no step counts, of the second the first one.
    valid = torch.tensor([[True, True, False], [True, False, False]])
    expected = [0, 0, 0, 1 / 3, 1, 1, 1, 1]
    assert firing_rates(Firing(spikes, spikes, 1.0, valid)).tolist() == pytest.approx(expected)


class Layer(Model):
    """One spiking layer."""

    def __init__(self) -> None:
        super().__init__(Problem({"x": SignalShape((1,), 1)}, Multilabel(("a",))))
        self.layer = SpikingLayer(TorchNeuron(LIFSpec()))

    def forward(self, spikes: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        return self.layer(spikes, valid=valid)


@pytest.mark.parametrize(
    ("shape", "valid", "fires"),
    [
        ((4, 2, 3), None, (slice(None), 0, 1)),
        ((1, 2, 4, 3), [[[1, 1, 1, 1], [1, 1, 1, 1]]], (0, 0, slice(None), 1)),
        ((4, 2, 3, 5), None, (slice(None), 0, 1, slice(None))),
        ((4, 2, 3, 2, 2), None, (slice(None), 0, 1)),
        ((4, 2, 3, 2, 2), [[1, 1]] * 4, (slice(None), 0, 1)),
    ],
    ids=["trains", "positions", "rows", "frames", "frames with a mask"],
)
def test_the_monitor_gives_the_rates_of_layers_of_any_shape(
    shape: tuple[int, ...], valid: list[Any] | None, fires: tuple[Any, ...]
) -> None:
    """In the first of two samples a third of the neurons fires always: rates of 1/2 and 0 in each of two batches."""
    spikes, model = torch.zeros(shape), Layer()
    spikes[fires] = 1
    with recorded(model, lambda _, __: spikes), HealthMonitor(model) as monitor:
        for _ in range(2):
            model.forward(spikes, None if valid is None else torch.tensor(valid) == 1)
            monitor.count()
    health = monitor.layers()["layer"]
    assert health.rate == pytest.approx(1 / 6)
    assert health.dead == pytest.approx(2 / 3)
    assert health.saturated == 0.0


def test_the_monitor_leaves_out_what_does_not_count_of_frames() -> None:
    spikes, model = torch.ones(4, 2, 3, 2, 2), Layer()
    spikes[2:, :, 0] = 0
    valid = torch.tensor([[True, True], [True, False], [True, False], [False, False]])
    with recorded(model, lambda _, __: spikes), HealthMonitor(model) as monitor:
        model.forward(spikes, valid)
        monitor.count()
    # Of 4 steps that count the first channel fires in 3, the others in all.
    health = monitor.layers()["layer"]
    assert health.rate == pytest.approx((3 / 4 + 1 + 1) / 3)
    assert health.saturated == pytest.approx(2 / 3)


@torch.no_grad()
def test_the_monitor_counts_valid_positions(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    batches = [random_batch(SHAPES, samples=n, seed=n) for n in (3, 5)]
    initialise_fluctuation_driven(model, batches[1], 0.2)
    model.eval()
    fired = steps = 0.0
    with HealthMonitor(model) as monitor:
        for batch in batches:
            model(batch)
            monitor.count()
    for batch in batches:
        with recorded(model) as firings:
            model(batch)
        mask = batch.signals["audio"].mask
        fired += float(firings["branches.audio.second"].spikes[:, mask].sum())
        steps += float(mask.sum()) * 5 * 10
    layers = monitor.layers()
    assert layers["branches.audio.second"].rate == pytest.approx(fired / steps)
    assert set(monitor.threshold()) == {"mean", "min", "max", "kappa", "divergence"}


@torch.no_grad()
def test_initialisation_reaches_its_rate(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES, samples=24, seed=1)
    before = {name: value.clone() for name, value in model.named_buffers()}
    reached = initialise_fluctuation_driven(model, batch, 0.2)
    assert len(reached) == 4
    assert all(rate == pytest.approx(0.2, abs=0.02) for rate in reached.values())
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert model.training


class Split:
    """A batch as a split of the data."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def batch(self, indices: torch.Tensor) -> Batch:
        signals = self._batch.signals.items()
        values = {name: signal.values[indices] for name, signal in signals}
        return Batch.of(values, {name: signal.mask[indices] for name, signal in signals})


@torch.no_grad()
def test_a_single_sample_cannot_be_permuted(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    effects = lesion_effects(model.eval(), Split(random_batch(SHAPES, samples=1)), 4)
    assert math.isnan(effects["permuted"])
    assert health_warnings({}, {}, {"permuted": {"test": effects["permuted"]}}, smile_recipe()) == []


@torch.no_grad()
def test_lesions(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES, samples=12)
    initialise_fluctuation_driven(model, batch, 0.2)
    model(batch)
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    effects = lesion_effects(model, Split(batch), 12)
    assert effects["permuted"] > 1e-4
    assert effects["silent"] > 1e-4
    assert effects == lesion_effects(model, Split(batch), 12)
    for size in (1, 5, 11):
        assert lesion_effects(model, Split(batch), size) == pytest.approx(effects, rel=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@torch.no_grad()
def test_a_donor_without_valid_rows_gives_no_spikes(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    """Every sample's neighbour in the circle is empty, or it is empty itself: so permuted is silent."""
    batch = random_batch(SHAPES, samples=2)
    for branch in model.branches.values():
        branch.second.synapse.bias.fill_(5.0)  # fires at padding too
    model(batch)
    masks = {name: signal.mask.clone() for name, signal in batch.signals.items()}
    for mask in masks.values():
        mask[1] = False
    values = {name: signal.values for name, signal in batch.signals.items()}
    effects = lesion_effects(model.eval(), Split(Batch.of(values, masks)), 2)
    assert effects["silent"] > 1e-6
    assert effects["permuted"] == pytest.approx(effects["silent"], rel=1e-4)


@torch.no_grad()
def test_spikes_that_are_not_used_have_no_lesion(
    smile: Callable[..., SMILE], random_batch: Callable[..., Batch]
) -> None:
    model = smile({"audio": 4, "vision": 3}, ("audio", "vision"), hidden=10, parts={"scaling": "none"}).eval()
    assert lesion_effects(model, Split(random_batch(SHAPES)), 2) == {"permuted": 0.0, "silent": 0.0}


def smile_recipe(*overrides: str) -> Recipe:
    return load_recipe("smile_mosei", overrides)


def test_warnings_name_the_layer_and_what_to_do() -> None:
    layers = {
        "a.first": LayerHealth(0.0, 1.0, 0.0),
        "b.first": LayerHealth(0.99, 0.0, 0.9),
        "c.first": LayerHealth(0.2, 0, 0),
    }
    told = health_warnings(layers, {"kappa": 0.001}, {"permuted": {"valid": 0.002}}, smile_recipe())
    assert len(told) == 4
    assert told[0].startswith("a.first: 100% of its neurons are dead")
    assert "training.initialisation.name=fluctuation-driven" in told[0]
    assert told[1].startswith("b.first: 90% of its neurons are saturated")
    assert told[2].startswith("lesion effect below 0.01: permuted (valid) 0.0020; the spikes hardly matter")
    assert told[3].startswith("kappa is 0.0010: the dynamic threshold does nothing")
    assert (
        health_warnings({"c.first": layers["c.first"]}, {"kappa": 0.1}, {"permuted": {"valid": 0.3}}, smile_recipe())
        == []
    )


INITIALISED = "training.initialisation={name: fluctuation-driven, firing_rate: 0.2}"


@pytest.mark.parametrize(
    ("overrides", "dead", "saturated", "weak"),
    [
        (
            [],
            "set training.initialisation.name=fluctuation-driven, or set training.rate_penalty.weight=1",
            "set data.standardise=true, or set training.initialisation.name=fluctuation-driven, or set "
            "training.rate_penalty.weight=1",
            "train longer than training.epochs=50, or set model.parts.scaling=rate-gain, or set "
            "training.initialisation.name=fluctuation-driven",
        ),
        (
            [INITIALISED, "data.standardise=true", "training.rate_penalty.weight=2", "model.parts.scaling=rate-gain"],
            "raise training.initialisation.firing_rate (it is 0.2), or raise training.rate_penalty.weight (it is 2)",
            "raise training.rate_penalty.weight (it is 2)",
            "train longer than training.epochs=50, or raise model.parts.scaling.params.beta",
        ),
        (
            [INITIALISED, "training.rate_penalty={weight: 1, layers: [b.first]}", "training.epochs=7"],
            "raise training.initialisation.firing_rate (it is 0.2), or add a.first to training.rate_penalty.layers",
            "set data.standardise=true, or raise training.rate_penalty.weight (it is 1)",
            "train longer than training.epochs=7, or set model.parts.scaling=rate-gain",
        ),
        (
            ["training.initialisation={firing_rate: 0.6}", "training.rate_penalty={name: total, weight: 1}"],
            "lower training.rate_penalty.weight (it is 1, of total)",
            "set data.standardise=true, or raise training.rate_penalty.weight (it is 1)",
            "train longer than training.epochs=50, or set model.parts.scaling=rate-gain",
        ),
        (
            [INITIALISED, "training.rate_penalty={weight: 1, low: 0.0, high: 1.0}"],
            "raise training.initialisation.firing_rate (it is 0.2), or raise training.rate_penalty.low (it is 0)",
            "set data.standardise=true, or lower training.rate_penalty.high (it is 1)",
            "train longer than training.epochs=50, or set model.parts.scaling=rate-gain",
        ),
        (
            [INITIALISED, "training.rate_penalty={name: target, weight: 1, rate: 0.0}", "model={name: gru}"],
            "raise training.initialisation.firing_rate (it is 0.2), or raise training.rate_penalty.rate (it is 0)",
            "set data.standardise=true, or raise training.rate_penalty.weight (it is 1)",
            "train longer than training.epochs=50",
        ),
        (
            [INITIALISED, "training.rate_penalty={name: target, weight: 1, rates: {'a.*': 0.0}}"],
            "raise training.initialisation.firing_rate (it is 0.2), or raise training.rate_penalty.rates (it is 0)",
            "set data.standardise=true, or add b.first to training.rate_penalty.rates",
            "train longer than training.epochs=50, or set model.parts.scaling=rate-gain",
        ),
        (
            [INITIALISED, "training.rate_penalty={weight: 1, gradient: false}"],
            "raise training.initialisation.firing_rate (it is 0.2), or set training.rate_penalty.gradient=true",
            "set data.standardise=true, or set training.rate_penalty.gradient=true",
            "train longer than training.epochs=50, or set model.parts.scaling=rate-gain",
        ),
    ],
)
def test_no_warning_advises_what_the_recipe_has(overrides: list[str], dead: str, saturated: str, weak: str) -> None:
    recipe = smile_recipe(*overrides)
    layers = {"a.first": LayerHealth(0.0, 1.0, 0.0), "b.first": LayerHealth(0.99, 0.0, 0.9)}
    told = health_warnings(layers, {}, {"permuted": {"valid": 0.002}}, recipe)
    assert [each.split("; ")[-1] for each in told[:2]] == [dead, saturated]
    assert told[2].endswith(f"the spikes hardly matter to the predictions: {weak}")
    for setting in re.findall(r"set (\S+=[^\s,]+)", " ".join(told)):
        assert recipe.with_overrides([setting]) != recipe, setting
