from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from neurozoo.backends.agreement import Agreement
from neurozoo.backends.probe import LayerProbe, active_share, driving_currents, probe, record_calls
from neurozoo.core.interfaces import LIFSpec
from neurozoo.core.layer import DynamicThresholdLIF, TorchNeuron


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


def test_calls_are_recorded_however_the_threshold_is_given() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.by_place, self.by_name, self.default, self.unused = (
                DynamicThresholdLIF(TorchNeuron(LIFSpec())) for _ in range(4)
            )

        def forward(self, x: Tensor) -> Tensor:
            level = torch.tensor(0.5, requires_grad=True)
            return self.default(self.by_name(self.by_place(x, 0.25) * 4, threshold=level) * 4)

    model, x = Model(), torch.ones(3, 1, 2, requires_grad=True)
    with record_calls(model) as calls:
        out = model(x)
    assert list(calls) == ["by_place", "by_name", "default"]
    assert calls["by_place"].threshold == 0.25
    level = calls["by_name"].threshold
    assert isinstance(level, Tensor)
    assert not level.requires_grad
    assert calls["default"].threshold == 1.0
    assert torch.equal(calls["default"].spikes, out)
    assert not calls["by_place"].currents.requires_grad
    model(x * 0)
    assert torch.equal(calls["by_place"].currents, torch.ones(3, 1, 2))


def test_probes_add_up_by_how_much_they_hold() -> None:
    def made(spikes: int, difference: float, rate: float) -> LayerProbe:
        return LayerProbe(Agreement(spikes, 1, 0, None, 0, 0), difference, rate, rate)

    both = made(30, 0.1, 0.2) + made(10, 0.3, 0.6)
    assert (both.agreement.spikes, both.agreement.mismatches, both.gradient_difference) == (40, 2, 0.3)
    assert both.rate == both.active == pytest.approx(0.3)
    for order in (made(1, 0.1, 0) + made(1, math.nan, 0), made(1, math.nan, 0) + made(1, 0.1, 0)):
        assert math.isnan(order.gradient_difference)
