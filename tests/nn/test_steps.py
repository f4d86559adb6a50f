"""Readouts over the steps, computed by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from neurozoo.core.signals import Signal
from neurozoo.nn.steps import Readout, as_steps, read_out, reversed_steps, to_positions

OUTPUTS = torch.tensor([[[0.0, 2.0]], [[4.0, -2.0]], [[1.0, 1.0]]])  # [T = 3, B = 1, K = 2]
SURE = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-6))
BY_HAND = {
    "mean": ([5 / 3, 1 / 3], [2.0, 0.0]),
    "max": ([4.0, 2.0], [4.0, 2.0]),
    "last": ([1.0, 1.0], [4.0, -2.0]),
    "softmax": (
        [1 - SURE[0] + SURE[1] + 0.5, SURE[0] + 1 - SURE[1] + 0.5],
        [1 - SURE[0] + SURE[1], SURE[0] + 1 - SURE[1]],
    ),
}


def test_every_readout_is_computed_by_hand() -> None:
    assert set(BY_HAND) == set(get_args(Readout))


@pytest.mark.parametrize("how", get_args(Readout))
def test_a_readout_over_all_steps_and_over_the_first_two(how: Readout) -> None:
    whole, two = BY_HAND[how]
    torch.testing.assert_close(read_out(OUTPUTS, None, how), torch.tensor([whole]))
    torch.testing.assert_close(read_out(OUTPUTS, torch.tensor([[True], [True], [True]]), how), torch.tensor([whole]))
    torch.testing.assert_close(read_out(OUTPUTS, torch.tensor([[True], [True], [False]]), how), torch.tensor([two]))
    assert torch.equal(read_out(OUTPUTS, torch.zeros(3, 1, dtype=torch.bool), how), torch.zeros(1, 2))


def test_steps_go_back_to_their_positions() -> None:
    values = torch.tensor([[[7.0], [1.0], [7.0], [2.0]]])
    valid = torch.tensor([[False, True, False, True]])
    steps, counted = as_steps(Signal(values, valid))
    assert steps[:, 0, 0].tolist() == [1.0, 2.0, 0.0, 0.0]
    assert counted is not None
    assert counted[:, 0].tolist() == [True, True, False, False]
    assert to_positions(steps, valid)[0, :, 0].tolist() == [0.0, 1.0, 0.0, 2.0]


def test_the_valid_steps_are_reversed_and_the_others_stay() -> None:
    x = torch.tensor([[[1.0], [5.0]], [[2.0], [6.0]], [[3.0], [7.0]]])
    valid = torch.tensor([[True, True], [True, True], [False, True]])
    assert reversed_steps(x, valid)[..., 0].T.tolist() == [[2.0, 1.0, 3.0], [7.0, 6.0, 5.0]]
    assert torch.equal(reversed_steps(reversed_steps(x, valid), valid), x)
    assert torch.equal(reversed_steps(x, None), x.flip(0))
    assert torch.equal(reversed_steps(x, torch.zeros_like(valid)), x)
