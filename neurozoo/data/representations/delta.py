"""Dense values to events: one event each time a value has moved by a step from where its last event left it.

An event's address is 2 x channel + (0 rising, 1 falling); several events of a channel at one position are as many equal
rows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import Seconds
from neurozoo.errors import DataError

__all__ = ["DeltaCounts", "LevelCrossing", "SendOnDelta", "crossings", "events_of_counts", "reconstruct"]

Step = Annotated[float, Field(gt=0, le=1e12)]
Value = Annotated[float, Field(ge=-1e12, le=1e12)]

_FREE = 2**30
"""A reference further than this from its start is refused; padding lets the reference be anywhere within it."""
_MOST_EVENTS = 2**24
"""Events of one sample; a step that gives more is far below the noise."""


def crossings(values: Tensor, valid: Tensor | None, step: float, start: Tensor | float) -> Tensor:
    """Return how many steps each channel's reference moves at each position.

    A position clips the reference between floor and ceil of ``(x - start) / step``. Clips composed are a clip, so the
    references of all positions are a prefix scan, of log2 L passes, of whole numbers: exact in any order.

    Args:
        values: ``[B, L, N]``; computed in float64.
        valid: ``[B, L]`` bool; at other positions the reference stays. None if all are real.
        step: Size of a step, in the unit of the values, above 0.
        start: The first reference, a number or ``[B, 1, N]``.

    Returns:
        ``[B, L, N]`` int32: ON events where positive, OFF events where negative.

    Raises:
        DataError: A value is too many steps away from its start.
    """
    x = (values.double() - start) / step
    if valid is not None:
        x = x.where(valid[..., None], 0.0)
    if x.numel() and not bool((x.abs() < _FREE).all()):
        raise DataError(
            f"a value is more than {_FREE:,} steps of {step:g} away from its start, or not finite; give a larger step"
        )
    low, high = x.floor().int(), x.ceil().int()
    if valid is not None:
        low, high = low.where(valid[..., None], -_FREE), high.where(valid[..., None], _FREE)
    distance = 1
    while distance < x.shape[1]:
        first, last = low[:, distance:], high[:, distance:]
        # The clip of the positions before comes first, so its ends pass through the clip of those after it.
        clipped_low = torch.minimum(torch.maximum(low[:, :-distance], first), last)
        clipped_high = torch.minimum(torch.maximum(high[:, :-distance], first), last)
        low = torch.cat([low[:, :distance], clipped_low], dim=1)
        high = torch.cat([high[:, :distance], clipped_high], dim=1)
        distance *= 2
    reference = torch.minimum(torch.maximum(torch.zeros_like(low), low), high)
    return torch.diff(reference, dim=1, prepend=torch.zeros_like(reference[:, :1]))


def events_of_counts(counts: Tensor) -> Signal:
    """Return the events of signed counts ``[B, L, N]``: rows (position, address), in order of both.

    Raises:
        DataError: A sample has more than 16,777,216 events.
    """
    samples, number = len(counts), counts.abs().sum((1, 2))
    most = int(number.max()) if samples else 0
    if most > _MOST_EVENTS:
        raise DataError(f"a sample of {counts.shape[1]:,} positions has {most:,} events; give a larger step")
    sample, position, channel = counts.nonzero(as_tuple=True)
    moved = counts[sample, position, channel]
    rows = torch.stack([position, 2 * channel + (moved < 0)], dim=1).int()
    repeats = moved.abs()
    rows, sample = rows.repeat_interleave(repeats, dim=0), sample.repeat_interleave(repeats)
    place = torch.arange(len(rows), device=counts.device) - (number.cumsum(0) - number)[sample]
    # One row at least, so that a batch without any event is a signal as well.
    values = torch.zeros(samples, max(most, 1), 2, dtype=torch.int32, device=counts.device)
    values[sample, place] = rows
    return Signal(values, torch.arange(values.shape[1], device=counts.device) < number[:, None])


def reconstruct(events: Signal, length: int, channels: int, step: float, start: Tensor | float) -> Tensor:
    """Return the references after the events, ``[B, L, N]`` float64: each value within one step.

    Args:
        events: Rows (position, address) as of :func:`events_of_counts`.
        length: Number of positions L.
        channels: Number of channels N.
        step: Size of a step, in the unit of the values.
        start: The first reference, a number or ``[B, 1, N]``; events do not hold it.
    """
    position, address = events.values[..., 0].long(), events.values[..., 1].long()
    moved = torch.where(address % 2 == 0, 1, -1) * events.mask
    flat = torch.zeros(len(moved), length * channels, dtype=torch.int64, device=moved.device)
    flat.scatter_add_(1, position * channels + address // 2, moved)
    return flat.view(-1, length, channels).cumsum(1) * step + start


class _Delta(Representation):
    """What both encoders share: all but where the reference begins."""

    def __init__(self, step: float, tick: float | None) -> None:
        self.step, self.tick = step, tick

    def first(self, values: Tensor) -> Tensor | float:
        """Return the first reference for the first values ``[B, 1, N]``: a number, or of the same shape."""
        raise NotImplementedError

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is not None:
            raise DataError("it needs dense values, and the signal is events; leave it out")
        tick = stored.tick if self.tick is None else self.tick
        if tick is None:
            raise DataError("nothing says the time from a position to the next; give tick, in seconds")
        coded = SignalShape.events((2 * stored.dim,), _MOST_EVENTS, tick)
        return replace(coded, span=stored.length)

    def counts(self, signal: Signal) -> Tensor:
        """Return the signed number of events of each channel at each position, ``[B, L, N]`` int32."""
        values = signal.values.flatten(2) if signal.values.ndim > 2 else signal.values[..., None]
        values = values.double()
        # Left padding must not be the first value.
        first = torch.zeros(len(values), dtype=torch.int64, device=values.device)
        if signal.valid is not None and values.shape[1]:
            first = signal.valid.int().argmax(1)
        begins = values[torch.arange(len(values), device=values.device), first][:, None] if values.shape[1] else values
        return crossings(values, signal.valid, self.step, self.first(begins))

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        return events_of_counts(self.counts(signal))


class SendOnDelta(_Delta):
    """Events where a value x has moved by a step from its reference r, which is at first the first value.

        up = max(0, floor((x - r) / step)),   down = max(0, floor((r - x) / step)),   r += (up - down) step

    are so many events of the addresses 2 x channel (up) and 2 x channel + 1 (down). So r, which ``reconstruct`` gives
    back, stays within a step of x. Each number of a position is a channel, axes are taken flat. A tick is a position.
    Miskowicz, Send-on-delta concept: an event-based data reporting strategy, Sensors 6, 2006.

    Args:
        step: In the unit of the values.
        start: The first reference, in the same unit; None for each channel's first value, which causes no event.
        tick: Seconds of one position, of signals that do not say it.
    """

    def __init__(self, *, step: Step, start: Value | None = None, tick: Seconds | None = None) -> None:
        super().__init__(step, tick)
        self.start = start

    def first(self, values: Tensor) -> Tensor | float:
        """Return the given start, or the first values."""
        return values if self.start is None else self.start


class LevelCrossing(_Delta):
    """Events where a value crosses multiples of a step; noise around one of them causes none.

    As ``send-on-delta``, from the multiple of the step at or below the first value, so that the reference is always a
    multiple: events mark crossings of fixed levels, with a hysteresis of one step.
    Mark and Todd, A nonuniform sampling approach to data compression, IEEE Transactions on Communications 29, 1981.

    Args:
        step: Between levels, in the unit of the values.
        tick: Seconds of one position, of signals that do not say it.
    """

    def __init__(self, *, step: Step, tick: Seconds | None = None) -> None:
        super().__init__(step, tick)

    def first(self, values: Tensor) -> Tensor | float:
        """Return the levels at or below the first values."""
        return (values / self.step).floor() * self.step


class DeltaCounts(Representation):
    """The events of ``send-on-delta`` counted at each position, ``[L, 2 N]`` float32: positions stay where they are.

    So targets of each position, such as the parts of a heart beat, still belong to them.

    Args:
        step: In the unit of the values.
        start: The first reference, in the same unit; None for each channel's first value, which causes no event.
        keep_values: Whether each channel keeps its value before its two counts, ``[L, 3 N]``: 3 x channel is the value,
            then up, then down. Padding is 0.
    """

    keeps_positions = True

    def __init__(self, *, step: Step, start: Value | None = None, keep_values: bool = False) -> None:
        self._coder, self._keep = SendOnDelta(step=step, start=start, tick=1.0), keep_values

    def shape(self, stored: SignalShape) -> SignalShape:
        self._coder.shape(stored)
        each = 3 if self._keep else 2
        return SignalShape((each * stored.dim,), stored.length, "float32", stored.ragged, stored.tick)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        counts = self._coder.counts(signal)
        parts = [counts.clamp(min=0).float(), (-counts).clamp(min=0).float()]
        if self._keep:
            values = signal.values.float().reshape(counts.shape)
            if signal.valid is not None:
                values = values.where(signal.valid[..., None], 0.0)
            parts.insert(0, values)
        return Signal(torch.stack(parts, dim=-1).flatten(2), signal.valid)
