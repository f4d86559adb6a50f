"""Augmentations of events as they are stored, before a recipe represents them.

Numbers are drawn on the CPU by torch's own generator, as those of the other augmentations, so that a resumed training
augments as if it had not stopped. Events that leave the sensor or the span of the store's times are dropped.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.data.representations.event_arrays import address_of, chosen_events, coordinates
from neurozoo.training.augmentation import EventAugmentation, Share, drawn

__all__ = ["EventFlip", "EventJitter", "EventShift"]

Cells = Annotated[int, Field(ge=0, le=65_536)]
Deviation = Annotated[float, Field(ge=0, le=65_536)]
SecondsFromZero = Annotated[float, Field(ge=0, le=1e6)]


class EventShift(EventAugmentation):
    """Moves all events of a sample alike: along each axis of the sensor but the polarity, and in time.

    Args:
        cells: Largest shift along an axis, in pixels or channels, either way; each from ``-cells`` to ``cells`` is as
            likely.
        time: Largest shift in seconds, either way.
    """

    def __init__(self, *, cells: Cells = 2, time: SecondsFromZero = 0.0) -> None:
        self.cells, self.time = cells, time

    def events(self, events: Signal, stored: SignalShape) -> Signal:
        samples, device = len(events), events.values.device
        shifts = torch.randint(-self.cells, self.cells + 1, (samples, 2))
        late = torch.rand(samples, 1) * 2 - 1
        ticks = (late * (self.time / (stored.tick or 1.0))).round().long().to(device)
        still, found = _axes(events, stored)
        moved = [*still, *(each + by[:, None].int().to(device) for each, by in zip(found, shifts.T, strict=False))]
        return _inside(events.values[..., 0].long() + ticks, moved, events.mask, stored)


class EventFlip(EventAugmentation):
    """Mirrors a sample along one axis of the sensor: coordinate c becomes ``size - 1 - c``.

    Args:
        axis: ``x`` (left and right), ``y`` or ``polarity`` of a camera, or ``channel``.
        p: Probability that a sample is mirrored.
    """

    def __init__(self, *, axis: Literal["x", "y", "polarity", "channel"] = "x", p: Share = 0.5) -> None:
        self.axis, self.p = axis, p

    def fits(self, stored: SignalShape) -> str:
        camera = len(stored.sensor or ()) == 3
        if camera == (self.axis == "channel"):
            return "axis x, y or polarity" if camera else "axis: channel"
        return ""

    def events(self, events: Signal, stored: SignalShape) -> Signal:
        sensor = stored.sensor or ()
        found = coordinates(events.values[..., 1], sensor)
        axis = {"x": 2, "y": 1, "polarity": 0, "channel": 0}[self.axis]
        chosen = drawn(self.p, len(events))[:, None].to(events.values.device)
        found[axis] = torch.where(chosen, sensor[axis] - 1 - found[axis], found[axis])
        address = address_of(found, sensor).masked_fill(~events.mask, 0)
        return Signal(torch.stack([events.values[..., 0], address.to(torch.int32)], 2), events.valid)


class EventJitter(EventAugmentation):
    """Moves each event at random: in time, and along each axis of the sensor but the polarity.

    Args:
        time: Standard deviation in seconds, normal.
        cells: Standard deviation along an axis, in pixels or channels, normal and then rounded (channels: Cramer et
            al. 2022, section III.C).
    """

    def __init__(self, *, time: SecondsFromZero = 0.0, cells: Deviation = 0.0) -> None:
        self.time, self.cells = time, cells

    def events(self, events: Signal, stored: SignalShape) -> Signal:
        time, device = events.values[..., 0].long(), events.values.device
        if self.time:
            time = time + (torch.randn(time.shape) * (self.time / (stored.tick or 1.0))).round().long().to(device)
        moved, found = _axes(events, stored)
        for each in found:
            by = torch.randn(each.shape) * self.cells if self.cells else torch.zeros(())
            moved.append(each + by.round().int().to(device))
        inside = _inside(time, moved, events.mask, stored)
        return _sorted(inside) if self.time else inside


def _axes(events: Signal, stored: SignalShape) -> tuple[list[Tensor], list[Tensor]]:
    """Return the coordinates of events: the polarity's, if there is one, and those that can be shifted."""
    found = coordinates(events.values[..., 1], stored.sensor or ())
    still = 1 if len(found) == 3 else 0
    return found[:still], found[still:]


def _inside(time: Tensor, moved: list[Tensor], valid: Tensor, stored: SignalShape) -> Signal:
    """Return the events that are still on the sensor and within the span."""
    sensor = stored.sensor or ()
    keep = valid & (time >= 0) & (time < (stored.span or 2**31 - 1))
    for each, side in zip(moved, sensor, strict=True):
        keep &= (each >= 0) & (each < side)
    return chosen_events(time, address_of(moved, sensor), keep)


def _sorted(events: Signal) -> Signal:
    """Return the events of each sample in the order of their times; padding stays behind them."""
    last = torch.iinfo(torch.int32).max
    order = events.values[..., 0].masked_fill(~events.mask, last).argsort(dim=1, stable=True)
    return Signal(events.values.gather(1, order[..., None].expand(-1, -1, 2)), events.valid)
