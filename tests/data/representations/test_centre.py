"""Dense values less a mean, by hand."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from neurozoo.core.signals import Signal, SignalShape
from neurozoo.data.representations.centre import Centre
from neurozoo.errors import DataError

FRAMES = SignalShape((2,), 3, "uint8", True, 0.01)
LEVELS = Signal(
    torch.tensor([[[10, 20], [30, 60], [77, 77]], [[1, 2], [3, 4], [5, 9]]], dtype=torch.uint8),
    torch.tensor([[True, True, False], [True, True, True]]),
)


@pytest.mark.parametrize(
    ("over", "table"),
    [
        ("channel", [[[-10, -20], [10, 20], [0, 0]], [[-2, -3], [0, -1], [2, 4]]]),
        ("position", [[[-5, 5], [-15, 15], [0, 0]], [[-0.5, 0.5], [-0.5, 0.5], [-2, 2]]]),
        ("sample", [[[-20, -10], [0, 30], [0, 0]], [[-3, -2], [-1, 0], [1, 5]]]),
    ],
)
def test_means_by_hand(over: Literal["channel", "position", "sample"], table: list[list[list[float]]]) -> None:
    centre = Centre(over=over)
    found = centre(LEVELS, FRAMES)
    assert centre.shape(FRAMES) == SignalShape((2,), 3, "float32", True, 0.01)
    assert found.valid is LEVELS.valid
    assert found.values.dtype == torch.float32
    assert found.values.tolist() == table


@pytest.mark.parametrize("over", ["channel", "sample"])
def test_a_waveform_loses_its_offset(over: Literal["channel", "sample"]) -> None:
    wave = SignalShape((), 4, "int16", tick=1e-3)
    assert Centre(over=over)(Signal(torch.tensor([[3, 5, 3, 5]])), wave).values.tolist() == [[-1, 1, -1, 1]]


def test_a_sample_without_a_valid_position_is_0() -> None:
    signal = Signal(torch.full((1, 3, 2), 7.0), torch.zeros(1, 3, dtype=torch.bool))
    assert not Centre(over="sample")(signal, FRAMES).values.any()


@pytest.mark.parametrize(
    ("over", "shape", "problem"),
    [
        ("sample", SignalShape.events((4,), 5), "the signal is events; represent them by bins first"),
        ("sample", SignalShape((), 5, "int64"), "a mean of the int64 numbers of tokens means nothing"),
        ("position", SignalShape((), 5, "int16", tick=1e-3), "a position is one number here, and would become 0"),
    ],
)
def test_what_has_no_mean_is_refused(
    over: Literal["channel", "position", "sample"], shape: SignalShape, problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        Centre(over=over).shape(shape)
