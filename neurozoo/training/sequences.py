"""Augmentations of spike trains and features ``[L, D]``: along the channels, and along time.

They change what the model sees, after events have been represented. Channels that belong together, such as the ON and
OFF events of a band, are neighbours, ``group`` of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Signal
from neurozoo.training.augmentation import Augmentation, Share, changed, per_sample

__all__ = ["MaskChannels", "MaskSteps", "ShiftChannels", "StretchTime", "ThinEvents"]

Channels = Annotated[int, Field(ge=1, le=65_536)]
Steps = Annotated[int, Field(ge=1, le=65_536)]
Times = Annotated[int, Field(ge=1, le=64)]


class SequenceAugmentation(Augmentation):
    """Base class of augmentations of spike trains and features ``[B, L, D]``."""

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        return "" if len(shape.shape) == 1 else "spike trains or features [L, D]"

    @abstractmethod
    def sequence(self, x: Tensor) -> Tensor:
        """Return changed values ``[B, L, D]``, on the same device."""

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        return replace(
            batch, signals=changed(batch, names, lambda each: Signal(self.sequence(each.values), each.valid))
        )


class ShiftChannels(SequenceAugmentation):
    """Moves each sample along the channels, by a number of groups drawn from ``-limit`` to ``limit``.

    Of a filter bank on a logarithmic scale this is another pitch, or another size of the vocal tract. Channels that
    come in from outside are 0.

    Args:
        limit: Largest shift, in groups.
        group: Neighbouring channels that belong together.
    """

    def __init__(self, *, limit: Channels = 2, group: Channels = 1) -> None:
        self.limit, self.group = limit, group

    def sequence(self, x: Tensor) -> Tensor:
        shift = torch.randint(-self.limit, self.limit + 1, (len(x),)) * self.group
        source = torch.arange(x.shape[2]) - shift[:, None]
        outside = ((source < 0) | (source >= x.shape[2]))[:, None].to(x.device)
        source = source.clamp(0, x.shape[2] - 1)[:, None].to(x.device)
        return x.gather(2, source.expand_as(x)).masked_fill(outside, 0)


class MaskChannels(SequenceAugmentation):
    """Sets bands of neighbouring channels to 0 (frequency masks of Park et al. 2019, SpecAugment, section 2).

    The width of a band is drawn from 0 to ``width``, then its place. Where 0 is far from what a channel usually says,
    such as a deviation or a level, ``fill: mean`` hides it without saying something else: each masked number becomes
    the mean of its channel over the valid positions of the batch. Whole numbers become floating-point numbers then.

    Args:
        width: Largest width of a band, in groups.
        times: Bands of a sample.
        group: Neighbouring channels that belong together.
        fill: What masked numbers become.
    """

    def __init__(
        self, *, width: Channels = 4, times: Times = 1, group: Channels = 1, fill: Literal["zero", "mean"] = "zero"
    ) -> None:
        self.width, self.times, self.group, self.fill = width, times, group, fill

    def sequence(self, x: Tensor) -> Tensor:
        return x.masked_fill(self._hidden(x), 0)

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        if self.fill == "zero":
            return super().__call__(batch, names)
        return replace(batch, signals=changed(batch, names, self._filled))

    def _filled(self, signal: Signal) -> Signal:
        x = signal.values if signal.values.is_floating_point() else signal.values.to(torch.get_default_dtype())
        counted = signal.mask[..., None]
        mean = x.where(counted, 0.0).sum((0, 1)) / counted.sum().clamp(min=1)
        return Signal(torch.where(self._hidden(x) & counted, mean, x), signal.valid)

    def _hidden(self, x: Tensor) -> Tensor:
        """Return which channels are masked, ``[B, 1, D]`` bool on the device of ``x``."""
        hidden = _stretches(len(x), -(-x.shape[2] // self.group), self.width, self.times)
        return hidden.repeat_interleave(self.group, 1)[:, None, : x.shape[2]].to(x.device)


class MaskSteps(SequenceAugmentation):
    """Sets stretches of neighbouring positions to 0, which stay valid (time masks of SpecAugment).

    The length of a stretch is drawn from 0 to ``width``, then its place.

    Args:
        width: Largest length of a stretch, in positions.
        times: Stretches of a sample.
    """

    def __init__(self, *, width: Steps = 10, times: Times = 1) -> None:
        self.width, self.times = width, times

    def sequence(self, x: Tensor) -> Tensor:
        hidden = _stretches(len(x), x.shape[1], self.width, self.times)
        return x.masked_fill(hidden[..., None].to(x.device), 0)


class StretchTime(Augmentation):
    """Makes each sample slower or faster: position t moves to ``round(factor t)``, and what meets there is added up.

    The factor is drawn evenly between ``1 - most`` and ``1 + most``. So events stay as many as they are; what would lie
    behind the batch's last position is lost, and what a number of 8 bits cannot hold. A sample's valid positions are
    stretched as well, and targets per step take their places: position s gets the target of ``round(s / factor)``, and
    does not count behind the last one.

    Args:
        most: Largest change of the factor from 1, dimensionless.
    """

    def __init__(self, *, most: Annotated[float, Field(gt=0, lt=1)] = 0.2) -> None:
        self.most = most

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        fits = len(shape.shape) == 1 and shape.length > 1
        return "" if fits else "spike trains or features [L, D] of several positions"

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        factor = torch.empty(len(batch)).uniform_(1 - self.most, 1 + self.most)
        moved = replace(batch, signals=changed(batch, names, lambda each: self._stretched(each, factor)))
        if not self.per_step or batch.target is None:
            return moved
        length, device = batch.target.shape[1], batch.target.device
        source = (torch.arange(length) / factor[:, None]).round().long().to(device)
        inside = source < length
        source = source.clamp(max=length - 1)
        counts = inside if batch.target_valid is None else inside & batch.target_valid.gather(1, source)
        target = batch.target.gather(1, per_sample(source, batch.target).expand_as(batch.target))
        return replace(moved, target=target, target_valid=counts)

    def _stretched(self, signal: Signal, factor: Tensor) -> Signal:
        x, length = signal.values, signal.values.shape[1]
        to = (torch.arange(length) * factor[:, None]).round().long().to(x.device)
        kept = (to < length) if signal.valid is None else (to < length) & signal.valid
        to = to.clamp(max=length - 1)
        # Bits have no sum: a step that gets several of them has one. Sums of bytes end at 255 and do not wrap around.
        numbers = x.int() if x.dtype in (torch.bool, torch.uint8) else x
        moved = torch.zeros_like(numbers).scatter_add_(1, to[..., None].expand_as(x), numbers * kept[..., None])
        moved = (moved.clamp_(max=255) if x.dtype == torch.uint8 else moved).to(x.dtype)
        if signal.valid is None:
            return Signal(moved, None)
        end = (signal.valid.sum(1) * factor.to(x.device)).round().long().clamp(1, length)
        return Signal(moved, torch.arange(length, device=x.device) < end[:, None])


class ThinEvents(SequenceAugmentation):
    """Sets each number of a sample to 0 with a probability that is drawn for the sample, from 0 to ``most``.

    Args:
        most: Largest probability.
    """

    def __init__(self, *, most: Share = 0.2) -> None:
        self.most = most

    def sequence(self, x: Tensor) -> Tensor:
        share = per_sample(torch.rand(len(x)) * self.most, x)
        return x.masked_fill(torch.rand(x.shape, device=x.device) < share, 0)


def _stretches(samples: int, size: int, width: int, times: int) -> Tensor:
    """Return which places of an axis lie in one of several random stretches, ``[B, size]`` bool on the CPU."""
    wide = torch.randint(0, width + 1, (times, samples)).clamp(max=size)
    first = (torch.rand(times, samples) * (size - wide + 1)).floor()
    at = torch.arange(size)
    return ((at >= first[..., None]) & (at < (first + wide)[..., None])).any(0)
