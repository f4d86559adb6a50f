"""Dense values with their mean and deviation over time, by hand."""

from __future__ import annotations

import pytest
import torch

from neurozoo.core.signals import Signal, SignalShape
from neurozoo.data.representations.statistics import Statistics
from neurozoo.errors import DataError

FRAMES = SignalShape((2,), 3, "uint8", True, 0.01)
LEVELS = Signal(
    torch.tensor([[[10, 20], [30, 60], [77, 77]], [[1, 2], [1, 5], [4, 2]]], dtype=torch.uint8),
    torch.tensor([[True, True, False], [True, True, True]]),
)


def test_by_hand() -> None:
    statistics = Statistics()
    found = statistics(LEVELS, FRAMES)
    assert statistics.shape(FRAMES) == SignalShape((6,), 3, "float32", True, 0.01)
    assert found.valid is LEVELS.valid
    assert found.values.dtype == torch.float32
    # By channel: its value, its mean, its deviation.
    assert found.values[0].tolist() == [[10, 20, 10, 20, 40, 20], [30, 20, 10, 60, 40, 20], [0] * 6]
    root = 2**0.5
    expected = [[1, 2, root, 2, 3, root], [1, 2, root, 5, 3, root], [4, 2, root, 2, 3, root]]
    torch.testing.assert_close(found.values[1], torch.tensor(expected))


def test_without_the_values() -> None:
    statistics = Statistics(keep_values=False)
    assert statistics.shape(FRAMES).shape == (4,)
    assert statistics(LEVELS, FRAMES).values[0].tolist() == [[20, 10, 40, 20], [20, 10, 40, 20], [0] * 4]


def test_axes_are_taken_flat_and_a_waveform_is_one_channel() -> None:
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert Statistics().shape(SignalShape((3, 4), 2)).shape == (36,)
    found = Statistics()(Signal(x), SignalShape((3, 4), 2)).values
    assert torch.equal(found[0, :, 0::3], x[0].flatten(1))
    assert torch.equal(found[0, :, 1::3], (x[0, 0].flatten() + 6).expand(2, -1))
    assert bool((found[..., 2::3] == 6).all())
    wave = SignalShape((), 4, "int16", tick=1e-3)
    found = Statistics(keep_values=False)(Signal(torch.tensor([[3, 5, 3, 5]])), wave).values
    assert found.tolist() == [[[4, 1]] * 4]


def test_a_sample_without_a_valid_position_is_0() -> None:
    signal = Signal(torch.full((1, 3, 2), 7.0), torch.zeros(1, 3, dtype=torch.bool))
    assert not Statistics()(signal, FRAMES).values.any()


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (SignalShape.events((4,), 5), "the signal is events; represent them by bins first"),
        (SignalShape((), 5, "int64"), "a mean of the int64 numbers of tokens means nothing"),
    ],
)
def test_what_has_no_mean_is_refused(shape: SignalShape, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Statistics().shape(shape)
