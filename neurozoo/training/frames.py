"""Augmentations that move, cut and drop: of pictures, and of the frames of event cameras.

They keep values as they are, so that counts stay counts and bits stay bits, of any dtype. What comes in from outside of
a frame is 0.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Signal
from neurozoo.data.representations.event_arrays import chosen_events, coordinates
from neurozoo.nn.steps import drawn_steps
from neurozoo.training.augmentation import (
    Augmentation,
    EventAugmentation,
    FrameAugmentation,
    Share,
    changed,
    drawn,
    per_sample,
)

__all__ = [
    "Cutout",
    "EventDrop",
    "FrameSubset",
    "HorizontalFlip",
    "NeuromorphicAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomRoll",
]

Pixels = Annotated[int, Field(ge=1, le=4096)]
Angle = Annotated[float, Field(ge=0, le=180)]


class RandomCrop(FrameAugmentation):
    """Moves a frame by up to ``padding`` pixels along both axes: a crop of the frame with a border of zeros.

    Args:
        padding: Width of the border, in pixels.
    """

    def __init__(self, *, padding: Pixels = 4) -> None:
        self.padding = padding

    def frames(self, values: Tensor) -> Tensor:
        y, x = _grid(values)
        dy, dx = _shifts(values, self.padding)
        return _gathered(values, y + dy, x + dx)


class HorizontalFlip(FrameAugmentation):
    """Mirrors left and right.

    Args:
        p: Probability that a sample is mirrored.
    """

    def __init__(self, *, p: Share = 0.5) -> None:
        self.p = p

    def frames(self, values: Tensor) -> Tensor:
        return torch.where(per_sample(drawn(self.p, len(values)), values), values.flip(-1), values)


class RandomRoll(FrameAugmentation):
    """Rolls a frame by up to ``limit`` pixels along both axes; what leaves on one side enters on the other.

    Args:
        limit: Largest shift, in pixels.
    """

    def __init__(self, *, limit: Pixels = 5) -> None:
        self.limit = limit

    def frames(self, values: Tensor) -> Tensor:
        height, width = values.shape[-2:]
        y, x = _grid(values)
        dy, dx = _shifts(values, self.limit)
        return _gathered(values, (y + dy) % height, (x + dx) % width)


class Cutout(FrameAugmentation):
    """Sets a square to 0, at a place drawn over the frame and cut at its edges (DeVries & Taylor 2017).

    Args:
        size: Side of the square, in pixels.
        p: Probability that a sample gets one.
    """

    def __init__(self, *, size: Pixels = 8, p: Share = 1.0) -> None:
        self.size, self.p = size, p

    def frames(self, values: Tensor) -> Tensor:
        side = torch.full((len(values),), float(self.size))
        return values.masked_fill(_boxes(values, side * drawn(self.p, len(values)), side), 0)


class RandomErasing(FrameAugmentation):
    """Replaces a rectangle that lies inside the frame (Zhong et al. 2020).

    Args:
        p: Probability that a sample gets one.
        smallest: Smallest area, as a share of the frame.
        largest: Largest area.
        aspect: Smallest ratio of the sides; its inverse is the largest.
        fill: ``noise``: normal, with mean and deviation of the sample's channels; ``zero``.
    """

    def __init__(
        self,
        *,
        p: Share = 0.25,
        smallest: Share = 0.02,
        largest: Share = 1 / 3,
        aspect: Annotated[float, Field(gt=0, le=1)] = 0.3,
        fill: Literal["noise", "zero"] = "noise",
    ) -> None:
        self.p, self.smallest, self.largest, self.aspect, self.fill = p, smallest, largest, aspect, fill

    @staticmethod
    def check_params(*, smallest: float, largest: float, **_: object) -> list[tuple[str, str]]:
        """Refuse areas in the wrong order."""
        return [("smallest", f"{smallest} is above largest = {largest}")] if smallest > largest else []

    def frames(self, values: Tensor) -> Tensor:
        samples, height, width = len(values), *values.shape[-2:]
        area = height * width * torch.empty(samples).uniform_(self.smallest, self.largest)
        ratio = torch.empty(samples).uniform_(math.log(self.aspect), -math.log(self.aspect)).exp()
        chosen = drawn(self.p, samples)
        tall, wide = (area * ratio).sqrt().round().clamp(max=height), (area / ratio).sqrt().round().clamp(max=width)
        boxes = _boxes(values, tall * chosen, wide, inside=True)
        if self.fill == "zero":
            return values.masked_fill(boxes, 0)
        floats = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        deviation, mean = torch.std_mean(floats, dim=(1, 3, 4), keepdim=True, correction=0)
        return torch.where(boxes, torch.randn_like(floats) * deviation + mean, floats)


class EventDrop(FrameAugmentation, EventAugmentation):
    """Drops events of a sample at random, in one of three ways (Gu et al. 2021).

    Each sample draws one way: an interval of time, a rectangle of the sensor (channels that are neighbours, if it has
    one axis), or events anywhere. Signals that are stored as events lose them before they are represented. Of frames
    an interval is of whole frames, and pixels are dropped, each value of a pixel as a whole; of a single frame no
    interval is dropped.

    Args:
        p: Probability that a sample loses any.
        largest: Largest share that is dropped: of the duration, of the sides of the sensor, or of the events.
    """

    def __init__(self, *, p: Share = 0.75, largest: Share = 0.5) -> None:
        self.p, self.largest = p, largest

    def events(self, events: Signal, stored: SignalShape) -> Signal:
        time, address = events.values.unbind(2)
        samples, valid, device = len(time), events.mask, time.device
        way = (torch.randint(0, 3, (samples, 1)) + 3 * ~drawn(self.p, samples)[:, None]).to(device)
        share, begin = (self.largest * torch.rand(samples, 1)).to(device), torch.rand(samples, 3).to(device)
        gone = (way == 2) & (torch.rand(time.shape).to(device) < share)
        last = time.masked_fill(~valid, 0).amax(1, keepdim=True).long() + 1
        gone |= (way == 0) & _within(time, last, begin[:, :1], share)
        area, sides = (way == 1).expand(time.shape), (stored.sensor or ())[-2:]
        for axis, (each, side) in enumerate(zip(coordinates(address, stored.sensor or ())[-2:], sides, strict=True), 1):
            area = area & _within(each, side, begin[:, axis : axis + 1], share)
        return chosen_events(time, address, valid & ~(gone | area))

    def frames(self, values: Tensor) -> Tensor:
        samples, length, _, height, width = values.shape
        way = torch.randint(0, 3, (samples,)) + 3 * ~drawn(self.p, samples)
        share, begin = self.largest * torch.rand(samples), torch.rand(samples)
        gone = per_sample((way == 2) * share, values) > torch.rand(values.shape, device=values.device)
        gone |= _boxes(values, share * height * (way == 1), share * width, inside=True)
        first, count = per_sample(begin * (1 - share) * length, values), per_sample(share * length, values)
        place = torch.arange(length, device=values.device).view(1, -1, 1, 1, 1)
        between = (place >= first.floor()) & (place < first.floor() + count.round())
        if length > 1:
            gone |= between & per_sample(way == 0, values)
        return values.masked_fill(gone, 0)


def _within(x: Tensor, whole: Tensor | int, begin: Tensor, share: Tensor) -> Tensor:
    """Return what lies in an interval of a share of the whole, drawn by ``begin`` from 0 to 1."""
    first = (begin * (1 - share) * whole).floor()
    return (x >= first) & (x < first + (share * whole).round())


class FrameSubset(Augmentation):
    """Takes some frames of each sample, drawn without repetition and in their order (Fang et al. 2021, SEW ResNet).

    Valid frames are drawn first; padding is taken only where they do not suffice, and stays padding.

    Args:
        frames: Frames to take; a signal that has no more stays as it is.
    """

    keeps_positions = False

    def __init__(self, *, frames: Annotated[int, Field(ge=1, le=65536)]) -> None:
        self.count = frames

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        return "" if shape.length > 1 else "signals of several positions"

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        return replace(batch, signals=changed(batch, names, self._taken))

    def _taken(self, signal: Signal) -> Signal:
        if signal.values.shape[1] <= self.count:
            return signal
        valid = None if signal.valid is None else signal.valid.T
        values, valid = drawn_steps(signal.values.transpose(0, 1), valid, self.count)
        return Signal(values.transpose(0, 1), None if valid is None else valid.T)


class NeuromorphicAugment(FrameAugmentation):
    """Mirrors event frames at random, then moves each sample in one of four ways, or in none.

    After the geometric augmentations of Li et al. 2022 (Neuromorphic Data Augmentation): roll, rotate, cut out, shear;
    the limits are those of this library. Frames are sampled at the nearest pixel.

    Args:
        p: Probability that a sample is mirrored.
        roll: Largest shift along each axis, in pixels.
        rotate: Largest angle, in degrees.
        cutout: Largest side of the square that is set to 0, in pixels.
        shear: Largest shift of a row, in pixels per pixel.
    """

    def __init__(
        self,
        *,
        p: Share = 0.5,
        roll: Pixels = 5,
        rotate: Angle = 30.0,
        cutout: Pixels = 8,
        shear: Share = 0.15,
    ) -> None:
        self.p, self.roll, self.rotate, self.cutout, self.shear = p, roll, rotate, cutout, shear

    def frames(self, values: Tensor) -> Tensor:
        samples, height, width = len(values), *values.shape[-2:]
        way = torch.randint(0, 5, (samples,))  # the last is none
        amount = torch.empty(samples).uniform_(-1, 1)
        shift = torch.randint(-self.roll, self.roll + 1, (2, samples)) * (way == 0)
        angle = torch.deg2rad(self.rotate * amount * (way == 1))
        slope = self.shear * amount * (way == 3)
        mirrored = 1.0 - 2.0 * drawn(self.p, samples)
        y, x = (each - (size - 1) / 2 for each, size in zip(_grid(values), (height, width), strict=True))
        sine, cosine, slope, mirrored = (
            each.view(-1, 1, 1).to(values.device) for each in (angle.sin(), angle.cos(), slope, mirrored)
        )
        x = x * mirrored
        y, x = cosine * y - sine * x, sine * y + cosine * x + slope * y
        y, x = (y + (height - 1) / 2).round().long(), (x + (width - 1) / 2).round().long()
        dy, dx = shift.view(2, -1, 1, 1).to(values.device).unbind(0)
        rolled = (way == 0).view(-1, 1, 1).to(values.device)
        y, x = torch.where(rolled, (y + dy) % height, y), torch.where(rolled, (x + dx) % width, x)
        side = (self.cutout * amount.abs()).ceil()
        return _gathered(values, y, x).masked_fill_(_boxes(values, side * (way == 2), side), 0)


def _shifts(values: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Draw a shift of each sample along both axes, of up to ``limit`` pixels, each ``[B, 1, 1]`` int64."""
    dy, dx = torch.randint(-limit, limit + 1, (2, len(values), 1, 1)).to(values.device)
    return dy, dx


def _grid(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns of pixels, ``[1, H, 1]`` and ``[1, 1, W]`` int64."""
    height, width = values.shape[-2:]
    rows, columns = torch.arange(height, device=values.device), torch.arange(width, device=values.device)
    return rows.view(1, -1, 1), columns.view(1, 1, -1)


def _gathered(values: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return each pixel's value from row ``y`` and column ``x`` of the frame, ``[B, H, W]`` or broadcast to it.

    Outside of the frame it is 0.
    """
    samples, length, channels, height, width = values.shape
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).view(samples, 1, -1)
    taken = values.reshape(samples, length * channels, -1).gather(2, index.expand(-1, length * channels, -1))
    return taken.view_as(values).masked_fill_(~inside[:, None, None], 0)


def _boxes(values: Tensor, tall: Tensor, wide: Tensor, inside: bool = False) -> Tensor:
    """Return random rectangles of these sides ``[B]`` as a mask ``[B, 1, 1, H, W]``.

    Args:
        values: ``[B, L, C, H, W]``.
        tall: Height, in pixels; 0 for none.
        wide: Width, in pixels.
        inside: Whether they lie inside the frame; else their centres do.
    """
    masks = []
    for grid, side, size in zip(_grid(values), (tall, wide), values.shape[-2:], strict=True):
        free = (size - side).clamp(min=0) + 1 if inside else torch.full_like(side, float(size))
        first = (torch.rand(len(side)) * free).floor() - (0 if inside else torch.div(side, 2, rounding_mode="floor"))
        low, high = (each.view(-1, 1, 1).to(values.device) for each in (first, first + side))
        masks.append((grid >= low) & (grid < high))
    return (masks[0] & masks[1])[:, None, None]
