"""From events to events: a part of the time or of the sensor, and a coarser sensor."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field

from neurozoo.core.representation import Representation
from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import (
    Seconds,
    address_of,
    chosen_events,
    coordinates,
    require_events,
)
from neurozoo.errors import DataError

__all__ = ["Crop", "Downsample"]

Cells = Annotated[int, Field(ge=1, le=65_536)]
FromZero = Annotated[int, Field(ge=0, le=65_536)]
Factor = Annotated[int, Field(ge=2, le=4096)]


class Crop(Representation):
    """The events of a window of time and of a part of the sensor; both then begin at 0.

    Keeps ``(t, a)`` with ``begin <= t < begin + duration`` and each coordinate c of a, along the axes of
    the sensor but the polarity, with ``origin <= c < origin + size``; gives ``(t - begin, a')``.

    Args:
        begin: Beginning of the window in seconds.
        duration: Duration of the window in seconds; None to the end.
        origin: First coordinate that is kept, along each axis: ``[y, x]`` of a camera, ``[channel]``; None for zeros.
        size: Number of coordinates that are kept, along each axis; None for all from the origin on.
    """

    def __init__(
        self,
        *,
        begin: Annotated[float, Field(ge=0, le=1e6)] = 0.0,
        duration: Seconds | None = None,
        origin: tuple[FromZero, ...] | None = None,
        size: tuple[Cells, ...] | None = None,
    ) -> None:
        self._begin, self._duration, self._origin, self._size = begin, duration, origin, size

    def shape(self, stored: SignalShape) -> SignalShape:
        _, tick = require_events(stored)
        first, last = self._window(stored, tick)
        whole, origin, size = self._box(stored)
        if last <= first:
            raise DataError(f"the window is empty: the store's samples end at {stored.seconds or 0:g} s")
        if any(o + s > w for o, s, w in zip(origin, size, whole, strict=True)):
            raise DataError(
                f"a part of {list(size)} from {list(origin)} on leaves the sensor's {list(whole)}; give a smaller one"
            )
        sensor = stored.sensor or ()
        return replace(stored, sensor=(*sensor[: len(sensor) - len(size)], *size), span=last - first)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        _, tick = require_events(stored)
        first, last = self._window(stored, tick)
        whole, origin, size = self._box(stored)
        time, address = signal.values.to(torch.int64).unbind(2)
        keep = signal.mask & (time >= first) & (time < last)
        sensor = stored.sensor or ()
        found = coordinates(address, sensor)
        polarity, found = found[: -len(whole)], [each - o for each, o in zip(found[-len(whole) :], origin, strict=True)]
        for each, s in zip(found, size, strict=True):
            keep &= (each >= 0) & (each < s)
        return chosen_events(time - first, address_of([*polarity, *found], (*sensor[: len(polarity)], *size)), keep)

    def _window(self, stored: SignalShape, tick: float) -> tuple[int, int]:
        """Return the window in ticks, its end excluded."""
        first, span = round(self._begin / tick), stored.span or 1
        return first, span if self._duration is None else min(first + max(1, round(self._duration / tick)), span)

    def _box(self, stored: SignalShape) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return axes, first coordinates and sizes of the kept part, without the polarity."""
        whole = _without_polarity(stored)
        origin = self._origin or (0,) * len(whole)
        size = self._size or tuple(w - o for w, o in zip(whole, origin, strict=False))
        if len(origin) != len(whole) or len(size) != len(whole):
            raise DataError(
                f"origin {list(origin)} and size {list(size)} are for other axes than {list(whole)}; give one number "
                "for each"
            )
        if min(size) < 1:
            raise DataError(f"nothing is left from {list(origin)} on of the sensor's {list(whole)}")
        return whole, origin, size


class Downsample(Representation):
    """Events of a coarser sensor: ``factor`` neighbouring coordinates along each axis but the polarity become one.

    ``c' = floor(c / factor)``; every event stays, at its time.

    Args:
        factor: Along each axis: pixels of a camera, channels.
    """

    def __init__(self, *, factor: Factor = 2) -> None:
        self._factor = factor

    def shape(self, stored: SignalShape) -> SignalShape:
        sensor, _ = require_events(stored)
        axes = _without_polarity(stored)
        coarse = (-(-axis // self._factor) for axis in axes)
        return replace(stored, sensor=(*sensor[: len(sensor) - len(axes)], *coarse))

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        time, address = signal.values.unbind(2)
        sensor, coarse = stored.sensor or (), self.shape(stored).sensor or ()
        found = coordinates(address, sensor)
        fine = len(sensor) - len(_without_polarity(stored))
        found[fine:] = [each.div(self._factor, rounding_mode="floor") for each in found[fine:]]
        return Signal(torch.stack([time, address_of(found, coarse)], 2), signal.valid)


def _without_polarity(stored: SignalShape) -> tuple[int, ...]:
    """Return the axes of a sensor; of a camera ``(2, H, W)`` those of a frame."""
    sensor, _ = require_events(stored)
    return sensor[1:] if len(sensor) == 3 else sensor
