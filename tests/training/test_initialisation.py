"""Fluctuation-driven initialisation of every kind of synapse: the rate that is wanted is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.model import Model, NeuronChoice
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.errors import SpikingError
from neurozoo.evaluation.health import firing_rates
from neurozoo.models.cuba_mlp import CubaMLP
from neurozoo.models.recurrent import RecurrentNet
from neurozoo.models.spiking_convnet import SpikingConvNet
from neurozoo.models.spiking_transformer import SpikingTransformer
from neurozoo.nn.neuron_choices import ALIF, LIF, PLIF, AdLIF, Cuba, ReLU
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.training.initialisation import initialise_fluctuation_driven

FRAMES, TRAINS = SignalShape((2, 8, 8), 6), SignalShape((12,), 20)


def built(model: type[Model], shape: SignalShape, choice: NeuronChoice | None = None, **params: Any) -> Model:
    torch.manual_seed(0)
    problem = Problem({"x": shape}, Multiclass(("a", "b", "c")))
    made: Model = model(problem, lambda slot, *_: choice, TorchNeuron, **params)  # type: ignore[call-arg]
    return made


def samples(shape: SignalShape, count: int = 48, *, padded: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(count, shape.length, *shape.shape, generator=generator)
    lengths = torch.randint(shape.length // 2, shape.length + 1, (count, 1), generator=generator)
    valid = torch.arange(shape.length) < lengths if padded else None
    return Batch({"x": Signal(values, valid)})


def measured(model: Model, batch: Batch) -> dict[str, float]:
    model.eval()
    with torch.no_grad(), recorded(model) as firings:
        model(batch)
    return {name: float(firing_rates(firings[name]).mean()) for name in spiking_layers(model)}


@pytest.mark.parametrize("rate", [0.1, 0.3])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: built(SpikingConvNet, FRAMES, channels=(4, 8)), FRAMES),
        (lambda: built(SpikingConvNet, FRAMES, PLIF(scope="neuron"), channels=(4, 8)), FRAMES),
        (lambda: built(RecurrentNet, TRAINS, hidden=(24, 16)), TRAINS),
        (lambda: built(RecurrentNet, TRAINS, ALIF(tau=5.0), hidden=(24,), self_connections=True), TRAINS),
        (lambda: built(RecurrentNet, TRAINS, AdLIF(), hidden=(24,), recurrent=False), TRAINS),
        (lambda: built(CubaMLP, TRAINS), TRAINS),
        (lambda: built(RecurrentNet, TRAINS, Cuba(tau=3.0), hidden=(24, 24), recurrent=False), TRAINS),
    ],
)
def test_the_wanted_rate_is_reached(make: Callable[[], Model], shape: SignalShape, padded: bool, rate: float) -> None:
    model, batch = make(), samples(shape, padded=padded)
    buffers = {name: x.clone() for name, x in model.named_buffers() if "running" not in name}
    reached = initialise_fluctuation_driven(model, batch, rate)
    assert model.training
    assert list(reached) == list(spiking_layers(model))
    assert all(torch.equal(buffers[name], x) for name, x in model.named_buffers() if name in buffers)
    for name, each in measured(model, batch).items():
        assert reached[name] == pytest.approx(rate, abs=0.03), name
        # What comes back over recurrent weights is other than when each layer was scaled.
        assert each == pytest.approx(rate, abs=0.05 if spiking_layers(model)[name].recurrent is None else 0.15), name


def test_a_transformer_wakes_too() -> None:
    shape = SignalShape((2, 8, 8), 4)
    model = built(SpikingTransformer, shape)
    batch = samples(shape, 16, padded=False)
    reached = initialise_fluctuation_driven(model, batch, 0.2)
    assert reached
    assert all(rate == pytest.approx(0.2, abs=0.03) for rate in reached.values())


def test_the_control_gets_currents_of_mean_0_and_deviation_1() -> None:
    model, batch = built(RecurrentNet, TRAINS, ReLU(), recurrent=False), samples(TRAINS)
    reached = initialise_fluctuation_driven(model, batch, 0.2)
    assert all(rate != rate for rate in reached.values())
    with torch.no_grad(), recorded(model) as firings:
        model.eval()(batch)
    firing = firings["layers.0"]
    assert firing.valid is not None
    currents = firing.currents[firing.valid.expand(firing.currents.shape[:2])]
    assert currents.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(currents.std(0, unbiased=False), torch.ones(128), rtol=1e-3, atol=1e-3)


def test_a_readout_stays_as_it_is() -> None:
    model = built(RecurrentNet, TRAINS)
    before = [x.clone() for x in model.head.parameters()]
    initialise_fluctuation_driven(model, samples(TRAINS), 0.2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.head.parameters(), strict=True))


def test_a_normalised_layer_says_the_same_in_training() -> None:
    """Its running statistics are those of the samples, so that evaluation starts at the rate as well."""
    model, batch = built(SpikingConvNet, FRAMES, channels=(4,)), samples(FRAMES)
    initialise_fluctuation_driven(model, batch, 0.2)
    evaluated = measured(model, batch)
    model.train()
    with torch.no_grad(), recorded(model) as firings:
        model(batch)
    trained = {name: float(firing_rates(firing).mean()) for name, firing in firings.items() if name in evaluated}
    assert trained == pytest.approx(evaluated, abs=0.02)


def test_nothing_valid_is_told() -> None:
    batch = samples(TRAINS)
    signal = batch.signals["x"]
    empty = Batch({"x": Signal(signal.values, torch.zeros_like(signal.mask))})
    with pytest.raises(SpikingError, match="no position of the training samples is valid"):
        initialise_fluctuation_driven(built(RecurrentNet, TRAINS), empty, 0.2)


def test_a_synapse_without_a_weight_is_left_alone() -> None:
    class Bare(Model):
        def __init__(self, problem: Problem) -> None:
            super().__init__(problem)
            self.layer = LIF().layer(TorchNeuron)
            self.head = nn.Linear(12, 3)

        def forward(self, batch: Batch) -> torch.Tensor:
            return self.head(self.layer(batch.signals["x"].values.transpose(0, 1)).mean(0))

    model = Bare(Problem({"x": TRAINS}, Multiclass(("a", "b", "c"))))
    assert initialise_fluctuation_driven(model, samples(TRAINS), 0.2) == {}
