from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from neurozoo.backends.agreement import Agreement
from neurozoo.backends.probe import LayerProbe, active_share, driving_currents, probe
from neurozoo.core.kinds import CubaSpec, LIFSpec, PLIFSpec, SpikingSpec
from neurozoo.core.layer import TorchNeuron


class OtherSurrogate(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(LIFSpec(surrogate="sigmoid"))


def test_a_neuron_probed_against_itself() -> None:
    neuron = TorchNeuron(LIFSpec())
    found = probe(neuron, neuron, torch.full((4, 2, 3), 2.0), torch.tensor(1.0))
    assert (found.agreement.mismatches, found.gradient_difference, found.rate, found.active) == (0, 0, 1, 1)


def test_another_gradient_is_found_where_the_spikes_agree() -> None:
    spec = LIFSpec()
    found = probe(OtherSurrogate(spec), TorchNeuron(spec), torch.linspace(0, 3, 24).reshape(4, 2, 3), 1.0)
    assert found.agreement.mismatches == 0
    assert found.gradient_difference > 0.1


@pytest.mark.parametrize("threshold", [1.0, torch.tensor(3.4), torch.linspace(0.1, 5, 8).reshape(1, 8, 1)])
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_a_driving_current_makes_the_wanted_share_fire(threshold: Tensor | float, v_reset: float | None) -> None:
    neuron, like = TorchNeuron(LIFSpec(v_reset=v_reset)), torch.zeros(5, 8, 64)
    for wanted in (0.1, 0.25, 0.45):
        currents = driving_currents(neuron, like, threshold, wanted)
        assert active_share(neuron.scan(currents, None, threshold)[0]) == pytest.approx(wanted, abs=0.02)
        assert torch.equal(currents, driving_currents(neuron, like, threshold, wanted))


def test_active_counts_neurons_and_not_spikes() -> None:
    spikes = torch.zeros(4, 1, 4)
    spikes[:, 0, 0] = 1
    spikes[2, 0, 3] = 1
    assert active_share(spikes) == 0.5
    assert active_share(torch.zeros(4, 0, 4)) == 0.0


@pytest.mark.parametrize("spec", [PLIFSpec(), CubaSpec(synapse_decay=0.6, membrane_decay=0.7)])
def test_parameters_of_each_neuron_are_given_and_their_gradients_compared(spec: SpikingSpec) -> None:
    currents = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0)) * 3
    name = next(iter(spec.parameters))
    params = {name: torch.tensor([0.3, 0.5, 0.8])}

    class Forgets(TorchNeuron):
        """Uses the parameter, and gives it no gradient."""

        def scan(self, currents, state=None, threshold=1.0, params=None):
            held = {key: torch.as_tensor(value).detach() for key, value in params.items()}
            return super().scan(currents, state, threshold, held)

    class Ignores(TorchNeuron):
        def scan(self, currents, state=None, threshold=1.0, params=None):
            return super().scan(currents, state, threshold)

    oracle = TorchNeuron(spec)
    assert probe(TorchNeuron(spec), oracle, currents, 1.0, params).gradient_difference == 0
    assert probe(Forgets(spec), oracle, currents, 1.0, params).gradient_difference == 1
    assert probe(Ignores(spec), oracle, currents, 1.0, params).agreement.parted > 0
    driven = driving_currents(oracle, currents, 1.0, params=params)
    assert active_share(oracle.scan(driven, None, 1.0, params)[0]) == pytest.approx(0.25, abs=0.1)


def test_probes_add_up_by_how_much_they_hold() -> None:
    def made(spikes: int, difference: float, rate: float) -> LayerProbe:
        return LayerProbe(Agreement(spikes, 1, 0, None, 0, 0), difference, rate, rate)

    both = made(30, 0.1, 0.2) + made(10, 0.3, 0.6)
    assert (both.agreement.spikes, both.agreement.mismatches, both.gradient_difference) == (40, 2, 0.3)
    assert both.rate == both.active == pytest.approx(0.3)
    for order in (made(1, 0.1, 0) + made(1, math.nan, 0), made(1, math.nan, 0) + made(1, 0.1, 0)):
        assert math.isnan(order.gradient_difference)
