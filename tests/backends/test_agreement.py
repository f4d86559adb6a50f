from __future__ import annotations

import pytest
import torch

from neurozoo.backends.agreement import agreement, within_margin
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError


class Off(TorchNeuron):
    """Fires where the membrane is within ``off`` below the threshold, too."""

    off = 0.0

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold - self.off, params)


class ALittleOff(Off):
    off = 1e-6


class FarOff(Off):
    off = 1e-2


@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float64, 2.0**-52), (torch.float32, 2.0**-23), (torch.bfloat16, 2.0**-7)]
)
def test_the_margin_is_eight_units_in_the_last_place(dtype: torch.dtype, unit: float) -> None:
    h = torch.tensor([1 - 9 * unit, 1 - 8 * unit, 1.0, 1 + 8 * unit, 1 + 9 * unit], dtype=torch.float64).to(dtype)
    assert within_margin(h, 1.0).tolist() == [False, True, True, True, False]


def test_the_unit_follows_the_threshold() -> None:
    h = torch.tensor([0.25 + 2.0**-22, 4 + 2.0**-20])
    assert within_margin(h, torch.tensor([0.25, 4.0])).tolist() == [True, True]
    assert within_margin(torch.tensor([0.25 + 2.0**-20]), 0.25).tolist() == [False]


def test_a_neuron_agrees_with_itself() -> None:
    neuron = TorchNeuron(LIFSpec())
    result = agreement(neuron, neuron, torch.rand(4, 3, 5) * 3, 0.7)
    assert (result.spikes, result.mismatches, result.beyond, result.first_step) == (60, 0, 0, None)


def test_a_flip_within_the_margin_is_counted_and_does_not_spread() -> None:
    # h = 1 - 2^-23, one unit and a bit below the threshold, in the second step only.
    currents = torch.tensor([0.0, 2 - 2.0**-22, 0.0, 0.0]).unsqueeze(1)
    result = agreement(ALittleOff(LIFSpec()), TorchNeuron(LIFSpec()), currents, 1.0)
    assert (result.spikes, result.mismatches, result.beyond, result.first_step) == (4, 1, 0, 1)


def test_a_difference_beyond_the_margin_is_told_apart() -> None:
    currents = torch.tensor([0.0, 1.99, 0.0]).unsqueeze(1)
    result = agreement(FarOff(LIFSpec()), TorchNeuron(LIFSpec()), currents, torch.tensor(1.0))
    assert (result.mismatches, result.beyond, result.first_step) == (1, 1, 1)


class Restless(TorchNeuron):
    """Right in each step, but its scan adds a little to the membrane that it carries on."""

    extra = 0.0

    def scan(self, currents, state=None, threshold=1.0, params=None):
        head, v = super().scan(currents[:1], state, threshold, params)
        tail, v = super().scan(currents[1:], (v[0] + self.extra,), threshold, params)
        return torch.cat([head, tail]), v


class ALittleRestless(Restless):
    extra = 2.0**-22


class VeryRestless(Restless):
    extra = 0.5


@pytest.mark.parametrize(("neuron", "parted", "stray"), [(ALittleRestless, 1, 0), (VeryRestless, 2, 1)])
def test_a_scan_that_drifts_is_told_from_one_that_rounds(neuron: type[TorchNeuron], parted: int, stray: int) -> None:
    # v = .5 after the first step; the first neuron then comes to one unit below 1, the second to .9.
    currents = torch.tensor([[1.0, 1.0], [1.5 - 2.0**-23, 1.3], [0.0, 0.0]])
    result = agreement(neuron(LIFSpec()), TorchNeuron(LIFSpec()), currents)
    assert (result.mismatches, result.parted, result.stray) == (0, parted, stray)


def test_a_threshold_that_does_not_fit_is_an_error() -> None:
    neuron = TorchNeuron(LIFSpec())
    with pytest.raises(SpikingError, match="does not fit"):
        agreement(neuron, neuron, torch.zeros(2, 3, 4), torch.ones(3))


def test_agreements_add_up() -> None:
    neuron, spec = TorchNeuron(LIFSpec()), LIFSpec()
    currents = torch.tensor([0.0, 1.99, 0.0]).unsqueeze(1)
    right, wrong = agreement(neuron, neuron, currents), agreement(FarOff(spec), neuron, currents)
    both = right + wrong
    assert (both.spikes, both.mismatches, both.beyond, both.first_step) == (6, 1, 1, 1)
    assert (wrong + right).first_step == 1
    assert both.parted == wrong.parted
