"""What representations of events share: steps of time on a grid, counts by step and address, and a choice of events.

Events of a batch stay padded, ``[B, E]``: computing the padding as well costs less than leaving it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import DataError

__all__ = [
    "CountDtype",
    "Rounding",
    "Seconds",
    "Steps",
    "StepsOfSample",
    "Values",
    "address_of",
    "chosen_events",
    "coordinates",
    "counted",
    "grid",
    "places",
    "require_events",
    "step_of",
    "steps_of_samples",
    "steps_of_store",
]

Seconds = Annotated[float, Field(gt=0, le=1e6)]
Steps = Annotated[int, Field(ge=1, le=1_000_000)]
Rounding = Literal["floor", "nearest"]
Values = Literal["counts", "bits"]
CountDtype = Literal["uint8", "int16", "float32"]
StepsOfSample = Literal["all", "event"]


def require_events(stored: SignalShape) -> tuple[tuple[int, ...], float]:
    """Return sensor and tick (in seconds) of events.

    Raises:
        DataError: The signal is not events.
    """
    if stored.sensor is None or stored.tick is None:
        raise DataError(f"it needs events, and the signal is {stored.dtype} {stored}; leave it out")
    return stored.sensor, stored.tick


def grid(step: float, tick: float) -> Fraction:
    """Return the ticks of one step, as a ratio of whole numbers: exact wherever both are decimal fractions.

    Raises:
        DataError: A step is shorter than a tick.
    """
    if step < tick * (1 - 1e-9):
        raise DataError(f"a step of {step:g} s is shorter than the signal's tick of {tick:g} s; give a longer one")
    return Fraction(step / tick).limit_denominator(1_000_000)


def step_of(time: Tensor, ticks: Fraction, rounding: Rounding = "floor") -> Tensor:
    """Return the step of each time: ``floor(t / step)``, or the nearest multiple of the step, halves up.

    Integers throughout: a quotient of floats puts some multiples of the step one step early.

    Args:
        time: In ticks, whole numbers below 2**31.
        ticks: Of one step, see :func:`grid`.
        rounding: ``floor``, or ``nearest`` for times that were rounded from a grid of that step.
    """
    up, down = ticks.numerator, ticks.denominator
    if rounding == "nearest":
        return (2 * down * time.to(torch.int64) + up).div(2 * up, rounding_mode="floor")
    if down == 1:
        return time.div(up, rounding_mode="floor")
    return (down * time.to(torch.int64)).div(up, rounding_mode="floor")


def steps_of_store(stored: SignalShape, ticks: Fraction, rounding: Rounding = "floor") -> int:
    """Return the number of steps that hold every sample of a store."""
    return int(step_of(torch.tensor((stored.span or 1) - 1), ticks, rounding)) + 1


def steps_of_samples(step: Tensor, valid: Tensor, most: int) -> Tensor:
    """Return the number of steps up to each sample's last event, ``[B]``, at most ``most``; 0 without events."""
    return (step.masked_fill(~valid, -1).amax(1) + 1).clamp(max=most)


def places(step: Tensor, address: Tensor, used: Tensor, length: int, addresses: int) -> tuple[Tensor, int]:
    """Return where each event is in the flat ``[B, length, addresses]``, and the size of that.

    Args:
        step: ``[B, E]``, of each event.
        address: ``[B, E]``, of each event.
        used: ``[B, E]`` bool; others get the place behind the last one.
        length: Number of steps.
        addresses: Number of addresses.
    """
    size = len(step) * length * addresses
    dtype = torch.int32 if size < 2**31 else torch.int64
    first = torch.arange(len(step), dtype=dtype, device=step.device)[:, None] * length
    place = (step.to(dtype) + first).mul_(addresses).add_(address)
    return place.masked_fill_(~used, size), size


def counted(place: Tensor, size: int, used: Tensor, dtype: str) -> Tensor:
    """Return how often each place from 0 to ``size - 1`` occurs, ``[size]``; of ``bool`` whether it does.

    Args:
        place: Whole numbers up to ``size``; what is at ``size`` does not count.
        size: Number of places.
        used: Which of them count, to check the sum.
        dtype: Of the result.

    Raises:
        DataError: A count is larger than the dtype holds.
    """
    place = place.flatten()
    one = torch.ones((), dtype=torch.uint8, device=place.device).expand(len(place))
    # Bytes first, whose memory is a quarter; a sum that lacks events shows that one overflowed.
    few = torch.zeros(size + 1, dtype=torch.uint8, device=place.device)
    if dtype == "bool":
        return few.index_fill_(0, place.long(), 1)[:-1].bool()
    few = few.index_add_(0, place, one)[:-1]
    kind: torch.dtype = getattr(torch, dtype)
    # numpy sums bytes ten times as fast as torch 2.13 does; where events are read, they are on the CPU.
    if int(few.cpu().numpy().sum(dtype=np.int64)) == int(used.sum()):
        return few.to(kind)
    wide = torch.zeros(size + 1, dtype=torch.int32, device=place.device)
    wide = wide.index_add_(0, place, one.to(torch.int32))[:-1]
    most = int(wide.max())
    if not kind.is_floating_point and most > torch.iinfo(kind).max:
        raise DataError(f"a step has {most} events of one address, and {dtype} holds fewer; use float32")
    return wide.to(kind)


def coordinates(address: Tensor, sensor: tuple[int, ...]) -> list[Tensor]:
    """Return the coordinate along each axis of the sensor, in order, each of the shape of ``address``."""
    found = []
    for axis in reversed(sensor[1:]):
        found.append(address % axis)
        address = address.div(axis, rounding_mode="floor")
    return [address, *found[::-1]]


def address_of(found: Sequence[Tensor], sensor: tuple[int, ...]) -> Tensor:
    """Return the address of coordinates, the reverse of :func:`coordinates`."""
    address = found[0]
    for axis, each in zip(sensor[1:], found[1:], strict=True):
        address = address * axis + each
    return address


def chosen_events(time: Tensor, address: Tensor, keep: Tensor) -> Signal:
    """Return the events of a choice, moved together to the beginning of each sample and padded with zeros.

    Args:
        time: ``[B, E]`` in ticks.
        address: ``[B, E]``.
        keep: ``[B, E]`` bool.
    """
    lengths = keep.sum(1)
    longest = max(int(lengths.max()) if len(lengths) else 0, 1)
    valid = torch.arange(longest, device=keep.device) < lengths[:, None]
    # What is left out meets in one more place at the end.
    place = (keep.cumsum(1) - 1).masked_fill_(~keep, longest)
    values = torch.zeros(len(keep), longest + 1, 2, dtype=torch.int32, device=keep.device)
    for column, x in enumerate((time, address)):
        values[..., column].scatter_(1, place, x.to(torch.int32))
    return Signal(values[:, :longest], valid)
