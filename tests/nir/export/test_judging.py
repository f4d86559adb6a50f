"""Spikes judged where two trains part, with the numbers by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.nir.export.judging import Judged, judge

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
    assert judge([ours], [ours.clone()], [currents], [SPEC], 1.0) == Judged(4, 4, 0, 0, None)


def test_a_difference_far_from_the_threshold_is_a_mismatch() -> None:
    currents = train(3, 1, 3, 3)
    ours = of(currents)
    assert judge([ours], [flipped(ours, 1, 3)], [currents], [SPEC], 1.0) == Judged(4, 3, 2, 0, (1, 2))


def test_where_the_membrane_is_at_the_threshold_it_is_rounding_and_so_is_what_follows_in_that_neuron() -> None:
    currents = train(2, 3, 3, 3)  # h = 1.0 in the first step
    ours = of(currents)
    assert ours[0] == 1
    assert judge([ours], [flipped(ours, 0, 2)], [currents], [SPEC], 1.0) == Judged(4, 4, 0, 2, None)


def test_the_margin_is_eight_units_in_the_last_place_a_step() -> None:
    ulp = 2.0**-23
    for units, rounding in ((8, 1), (9, 0)):
        currents = train(0, 0) + torch.tensor([2 * (1 + units * ulp), 0.0])[:, None, None]
        ours = of(currents)
        found = judge([ours], [flipped(ours, 0)], [currents], [SPEC], 1.0)
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
        found = judge([ours, of(second)], [flipped(ours, 1), other], [currents, second], [SPEC, SPEC], 1.0)
        assert found == expected


def test_another_position_is_not_excused() -> None:
    first = torch.cat([train(2, 0), train(0, 0)], dim=1)  # two positions; rounding in the first alone
    second = torch.cat([train(3, 3), train(3, 3)], dim=1)
    ours = [of(first), of(second)]
    theirs = [each.clone() for each in ours]
    theirs[0][0, 0] = 0
    theirs[1][1, 1] = 0
    assert judge(ours, theirs, [first, second], [SPEC, SPEC], 1.0) == Judged(8, 5, 1, 1, (2, 2))
