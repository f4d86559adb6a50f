"""Dense values to events by steps: against the rule written as a loop, and back to within a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.delta import (
    DeltaCounts,
    LevelCrossing,
    SendOnDelta,
    crossings,
    events_of_counts,
    reconstruct,
)
from neurozoo.errors import DataError


def walks(samples: int = 3, length: int = 50, channels: int = 4) -> Tensor:
    """SYNTHETIC: random walks, some of them through whole steps exactly."""
    rng = np.random.default_rng(0)
    walk = rng.normal(0, 2, (samples, length, channels)).cumsum(1)
    walk[0] = np.round(walk[0])
    return torch.from_numpy(walk)


def by_the_rule(x: Tensor, step: float, start: Tensor) -> list[tuple[int, int]]:
    """The docstring's equation, of one sample ``[L, N]``."""
    reference, rows = start.tolist(), []
    for position, values in enumerate(x.tolist()):
        for channel, value in enumerate(values):
            r = reference[channel]
            on, off = max(0, math.floor((value - r) / step)), max(0, math.floor((r - value) / step))
            reference[channel] += (on - off) * step
            rows += [(position, 2 * channel)] * on + [(position, 2 * channel + 1)] * off
    return rows


@pytest.mark.parametrize("step", [0.5, 2.0])
def test_events_are_those_of_the_rule(step: float) -> None:
    x = walks()
    events = events_of_counts(crossings(x, None, step, x[:, :1]))
    for sample, rows, valid in zip(x, events.values, events.mask, strict=True):
        assert list(map(tuple, rows[valid].tolist())) == by_the_rule(sample, step, sample[0])


@pytest.mark.parametrize("start", [None, 1.25])
def test_what_events_leave_behind_is_within_a_step(start: float | None) -> None:
    x, step = walks(), 0.75
    first: Tensor | float = x[:, :1] if start is None else start
    counts = crossings(x, None, step, first)
    found = reconstruct(events_of_counts(counts), x.shape[1], x.shape[2], step, first)
    assert float((found - x).abs().max()) < step
    assert counts.any()


def test_a_sample_alone_gives_the_events_that_it_gives_in_a_batch() -> None:
    x = walks()
    lengths = torch.tensor([50, 7, 0])
    valid = torch.arange(50) < lengths[:, None]
    padded = torch.where(valid[..., None], x, float("nan"))
    together = events_of_counts(crossings(padded, valid, 1.0, torch.zeros(3, 1, 4, dtype=torch.float64)))
    for place, length in enumerate(lengths.tolist()):
        alone = events_of_counts(crossings(x[place : place + 1, :length], None, 1.0, 0.0))
        assert torch.equal(together.values[place][together.mask[place]], alone.values[0][alone.mask[0]])
    assert not together.mask[2].any()


def test_padding_in_the_middle_neither_fires_nor_moves_the_reference() -> None:
    x = torch.tensor([[[0.0], [99.0], [3.0]]])
    counts = crossings(x, torch.tensor([[True, False, True]]), 1.0, 0.0)
    assert counts.flatten().tolist() == [0, 0, 3]


def test_a_batch_without_events_is_a_signal() -> None:
    events = events_of_counts(torch.zeros(2, 5, 3, dtype=torch.int32))
    assert events.values.shape == (2, 1, 2)
    assert not events.mask.any()


def test_steps_below_the_noise_and_values_without_end_are_refused() -> None:
    with pytest.raises(DataError, match=r"more than 1,073,741,824 steps of 1e-09 away .* give a larger step"):
        crossings(torch.ones(1, 2, 1) * 2, None, 1e-9, 0.0)
    with pytest.raises(DataError, match="or not finite"):
        crossings(torch.full((1, 2, 1), float("nan")), None, 1.0, 0.0)
    with pytest.raises(DataError, match=r"a sample of 1 positions has 20,000,000 events; give a larger step"):
        events_of_counts(torch.tensor([[[20_000_000]]]))


def test_reconstruction_ignores_padding() -> None:
    events = Signal(torch.tensor([[[0, 0], [0, 0]]], dtype=torch.int32), torch.tensor([[True, False]]))
    assert reconstruct(events, 2, 1, 0.5, 0.0).flatten().tolist() == [0.5, 0.5]


def test_as_representations_of_dense_values() -> None:
    x = walks()
    signal, shape = Signal(x.float()), SignalShape((4,), 50, "float32", False, 0.004)
    coder = SendOnDelta(step=0.5)
    out = coder.shape(shape)
    assert (out.sensor, out.span, out.tick) == ((8,), 50, 0.004)
    events = coder(signal, shape)
    assert torch.equal(events.values, events_of_counts(crossings(x.float(), None, 0.5, x[:, :1].float())).values)
    from_zero = SendOnDelta(step=0.5, start=0.0)(signal, shape)
    assert float((reconstruct(from_zero, 50, 4, 0.5, 0.0) - x).abs().max()) < 0.5 + 1e-5
    levels = LevelCrossing(step=2.0)(signal, shape)
    first = (x[:, :1] / 2).floor() * 2
    assert float((reconstruct(levels, 50, 4, 2.0, first) - x).abs().max()) < 2 + 1e-5


def test_left_padding_is_not_the_first_value() -> None:
    signal = Signal(torch.tensor([[0.0, 5.0, 5.0]]), torch.tensor([[False, True, True]]))
    assert not SendOnDelta(step=1.0, tick=1.0)(signal, SignalShape((), 3)).mask.any()


def test_events_and_positions_without_time_are_refused() -> None:
    with pytest.raises(DataError, match="it needs dense values, and the signal is events"):
        SendOnDelta(step=1.0).shape(SignalShape.events((3,), 10))
    with pytest.raises(DataError, match="give tick, in seconds"):
        LevelCrossing(step=1.0).shape(SignalShape((3,), 10))


def test_counts_keep_positions_and_are_the_events() -> None:
    x, valid = walks(), torch.arange(50) < torch.tensor([50, 20, 1])[:, None]
    signal, shape = Signal(x, valid), SignalShape((4,), 50, "float64", True, 0.004)
    counter = DeltaCounts(step=0.5)
    assert counter.shape(shape) == SignalShape((8,), 50, "float32", True, 0.004)
    found = counter(signal, shape)
    assert found.valid is valid
    events = SendOnDelta(step=0.5)(signal, shape)
    for sample in range(3):
        wanted = torch.zeros(50, 8)
        for position, address in events.values[sample][events.mask[sample]].tolist():
            wanted[position, address] += 1
        assert torch.equal(found.values[sample], wanted)
    target = Signal(torch.zeros(3, 50))
    assert counter.steps(target, shape) is target


def test_counts_follow_the_values_of_their_channel_if_those_are_kept() -> None:
    x = torch.tensor([[[5, 0], [8, 0], [6, 1], [99, 99]]], dtype=torch.uint8)
    signal, shape = Signal(x, torch.tensor([[True, True, True, False]])), SignalShape((2,), 4, "uint8", True)
    counter = DeltaCounts(step=2, keep_values=True)
    assert counter.shape(shape) == SignalShape((6,), 4, "float32", True)
    found = counter(signal, shape)
    assert found.valid is signal.valid
    assert found.values.dtype == torch.float32
    assert found.values[0].tolist() == [[5, 0, 0, 0, 0, 0], [8, 1, 0, 0, 0, 0], [6, 0, 0, 1, 0, 0], [0] * 6]
    apart = DeltaCounts(step=2)(signal, shape).values.view(1, 4, 2, 2)
    assert torch.equal(found.values.view(1, 4, 2, 3)[..., 1:], apart)
