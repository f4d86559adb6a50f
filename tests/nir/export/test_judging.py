"""Spikes judged where two trains part, with the numbers by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neurozoo.backends.agreement import heights
from neurozoo.core.kinds import CubaSpec, IFSpec, LIFSpec, PLIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import NeuronSpec
from neurozoo.nir.export.judging import Judged, Neurons, judge

SPEC = LIFSpec(tau=2.0)


def train(*spikes: int) -> Tensor:
    """``[T, 1, 1]``."""
    return torch.tensor(spikes, dtype=torch.float32)[:, None, None]


def flipped(spikes: Tensor, *steps: int) -> Tensor:
    other = spikes.clone()
    for step in steps:
        other[step] = 1 - other[step]
    return other


def of(currents: Tensor, threshold: float = 1.0) -> Tensor:
    return TorchNeuron(SPEC).scan(currents, None, threshold)[0]


def test_equal_spikes_are_equal() -> None:
    currents = train(3, 3, 3, 3)
    ours = of(currents)
    assert ours.flatten().tolist() == [1, 1, 1, 1]
    assert judge([ours], [ours.clone()], [currents], [Neurons(SPEC, 1.0)]) == Judged(4, 4, 0, 0, None)


def test_a_difference_far_from_the_threshold_is_a_mismatch() -> None:
    currents = train(3, 1, 3, 3)
    ours = of(currents)
    assert judge([ours], [flipped(ours, 1, 3)], [currents], [Neurons(SPEC, 1.0)]) == Judged(4, 3, 2, 0, (1, 2))


def test_where_the_membrane_is_at_the_threshold_it_is_rounding_and_so_is_what_follows_in_that_neuron() -> None:
    currents = train(2, 3, 3, 3)  # h = 1.0 in the first step
    ours = of(currents)
    assert ours[0] == 1
    assert judge([ours], [flipped(ours, 0, 2)], [currents], [Neurons(SPEC, 1.0)]) == Judged(4, 4, 0, 2, None)


def test_the_margin_is_eight_units_in_the_last_place_a_step() -> None:
    ulp = 2.0**-23
    for units, rounding in ((8, 1), (9, 0)):
        currents = train(0, 0) + torch.tensor([2 * (1 + units * ulp), 0.0])[:, None, None]
        ours = of(currents)
        found = judge([ours], [flipped(ours, 0)], [currents], [Neurons(SPEC, 1.0)])
        assert (found.rounding, found.mismatches) == (rounding, 1 - rounding)


def test_a_layer_fed_by_rounding_is_not_blamed_but_before_it_is() -> None:
    near, far = train(0, 2, 0), train(0, 3, 0)  # the first layer parts at step 2
    second = train(3, 3, 3)
    later = flipped(of(second), 2)
    sooner = flipped(of(second), 0)
    for currents, other, expected in (
        (near, later, Judged(6, 4, 0, 2, None)),
        (near, sooner, Judged(6, 4, 1, 1, (2, 1))),
        (far, later, Judged(6, 4, 2, 0, (1, 2))),
    ):
        ours = of(currents)
        found = judge([ours, of(second)], [flipped(ours, 1), other], [currents, second], [Neurons(SPEC, 1.0)] * 2)
        assert found == expected


def test_another_position_is_not_excused() -> None:
    first = torch.cat([train(2, 0), train(0, 0)], dim=1)  # two positions; rounding in the first alone
    second = torch.cat([train(3, 3), train(3, 3)], dim=1)
    ours = [of(first), of(second)]
    theirs = [each.clone() for each in ours]
    theirs[0][0, 0] = 0
    theirs[1][1, 1] = 0
    assert judge(ours, theirs, [first, second], [Neurons(SPEC, 1.0)] * 2) == Judged(8, 5, 1, 1, (2, 2))


@pytest.mark.parametrize("spec", [IFSpec(), PLIFSpec(leak=0.5), CubaSpec(synapse_decay=0.5, membrane_decay=0.5)])
def test_other_kinds_are_judged_by_what_they_compare(spec: NeuronSpec) -> None:
    currents = torch.tensor([0.25, 0.25, 0.25, 2.0])[:, None, None]
    ours = TorchNeuron(spec).scan(currents, None, 1.0)[0]
    assert ours.flatten().tolist() == [0, 0, 0, 1]
    neurons = [Neurons(spec, 1.0, {})]
    assert judge([ours], [flipped(ours, 1)], [currents], neurons) == Judged(4, 1, 1, 0, (1, 2))
    level = float(heights(spec, currents[0], TorchNeuron(spec).initial_state(currents[0]), 1.0, spec.complete({}))[0])
    at = [Neurons(spec, level, {})]  # the first step stands at the threshold
    fired = TorchNeuron(spec).scan(currents, None, level)[0]
    found = judge([fired], [flipped(fired, 0)], [currents], at)
    assert (found.mismatches, found.rounding) == (0, 1)
