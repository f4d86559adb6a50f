"""Augmentations of pictures that change their colours: RandAugment and colour jitter.

Operations follow Cubuk et al. 2019 (AutoAugment) and 2020 (RandAugment), whose pictures have 256 levels; here they are
floats between 0 (black) and 1 (white), of any number of channels, and each sample draws its own operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from neurozoo.training.augmentation import FrameAugmentation, Share, drawn

__all__ = ["OPERATIONS", "ColourJitter", "RandAugment"]

Operation = Callable[[Tensor, Tensor], Tensor]
Top = Annotated[float, Field(gt=0, le=1e6)]

_LEVELS = 255
_GREY = (0.299, 0.587, 0.114)
"""Luminance of red, green and blue (ITU-R BT.601)."""
_SMOOTH = torch.tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13


class _Pictures(FrameAugmentation):
    """Base class: values as floats between 0 and 1, and back to their scale."""

    def __init__(self, top: float | None) -> None:
        self.top = top

    def frames(self, values: Tensor) -> Tensor:
        top = (_LEVELS if values.dtype == torch.uint8 else 1.0) if self.top is None else self.top
        floats = values if values.is_floating_point() else values.to(torch.get_default_dtype())
        return self.pictures((floats / top).clamp(0, 1)) * top

    def pictures(self, x: Tensor) -> Tensor:
        """Return changed pictures ``[B, L, C, H, W]`` of values between 0 and 1."""
        raise NotImplementedError


class RandAugment(_Pictures):
    """Applies ``operations`` random operations to each sample, all of one magnitude (Cubuk et al. 2020).

    The operations are those of :data:`OPERATIONS`, drawn for each sample with equal probability.

    Args:
        magnitude: From 0 to 10, where an operation changes a picture most.
        operations: Operations a sample, one after the other.
        p: Probability of each to be applied.
        deviation: Of a sample's magnitude around it, cut at 0 and 10.
        top: Value of white; None for 255 where pictures are bytes, else 1. Other values are cut off.
    """

    def __init__(
        self,
        *,
        magnitude: Annotated[float, Field(ge=0, le=10)] = 9.0,
        operations: Annotated[int, Field(ge=1, le=16)] = 1,
        p: Share = 1.0,
        deviation: Annotated[float, Field(ge=0, le=10)] = 0.0,
        top: Top | None = None,
    ) -> None:
        super().__init__(top)
        self.magnitude, self.operations, self.p, self.deviation = magnitude, operations, p, deviation

    def pictures(self, x: Tensor) -> Tensor:
        for _ in range(self.operations):
            chosen = torch.randint(0, len(OPERATIONS), (len(x),)).masked_fill(~drawn(self.p, len(x)), -1)
            magnitude = (self.magnitude + self.deviation * torch.randn(len(x))).clamp(0, 10) / 10
            sign = 1.0 - 2.0 * drawn(0.5, len(x))
            changed = x.clone()
            for number, operation in enumerate(OPERATIONS.values()):
                rows = (chosen == number).nonzero().flatten()
                if len(rows):
                    amount = (magnitude * sign)[rows].to(x.device)
                    places = rows.to(x.device)
                    changed.index_copy_(0, places, operation(x.index_select(0, places), amount))
            x = changed
        return x


class ColourJitter(_Pictures):
    """Changes brightness, contrast and saturation of each sample by a factor around 1 each, in this order.

    Args:
        brightness: The factor is drawn between 1 minus this and 1 plus this; the same for the others.
        contrast: About the mean grey of the sample.
        saturation: About the grey of each pixel; pictures of other than three channels keep theirs.
        top: As for ``rand-augment``.
    """

    def __init__(
        self, *, brightness: Share = 0.5, contrast: Share = 0.5, saturation: Share = 0.5, top: Top | None = None
    ) -> None:
        super().__init__(top)
        self.amounts = (brightness, contrast, saturation)

    def pictures(self, x: Tensor) -> Tensor:
        for operation, amount in zip((_brightness, _contrast, _colour), self.amounts, strict=True):
            factor = torch.empty(len(x)).uniform_(-amount, amount)
            x = operation(x, factor.to(x.device) / 0.9)  # they change by 0.9 at most
        return x


def _axes(amount: Tensor) -> Tensor:
    return amount.view(-1, 1, 1, 1, 1)


def _blend(x: Tensor, other: Tensor, amount: Tensor) -> Tensor:
    """Move from ``other`` through x, which is at amount 0, by up to 0.9 of their difference."""
    return (other + (x - other) * (1 + 0.9 * _axes(amount))).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    if x.shape[2] != 3:
        return x.mean(2, keepdim=True)
    return (x * x.new_tensor(_GREY).view(1, 1, 3, 1, 1)).sum(2, keepdim=True)


def _identity(x: Tensor, amount: Tensor) -> Tensor:
    return x


def _autocontrast(x: Tensor, amount: Tensor) -> Tensor:
    """Stretch each channel to the whole range."""
    low, high = x.amin((1, 3, 4), keepdim=True), x.amax((1, 3, 4), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1e-12), x)


def _equalise(x: Tensor, amount: Tensor) -> Tensor:
    """Give each channel's levels equal counts, as far as they can be told apart."""
    levels = (x * _LEVELS).round().long().transpose(1, 2).flatten(2)  # [b, C, L H W]
    counts = torch.zeros(*levels.shape[:2], _LEVELS + 1, dtype=torch.long, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(2)
    last = counts.gather(2, levels.amax(2, keepdim=True))  # those of the highest level do not count
    step = (below[..., -1:] - last) // _LEVELS
    table = ((below - counts + step // 2) // step.clamp(min=1)).clamp(0, _LEVELS)
    table = torch.where(step > 0, table, torch.arange(_LEVELS + 1, device=x.device))
    equal = table.gather(2, levels).to(x.dtype) / _LEVELS
    return equal.view(len(x), x.shape[2], x.shape[1], *x.shape[3:]).transpose(1, 2)


def _posterise(x: Tensor, amount: Tensor) -> Tensor:
    """Keep 8 to 4 of the bits of each level."""
    lost = 2.0 ** (4 * _axes(amount).abs()).floor()
    return ((x * _LEVELS).round() / lost).floor() * lost / _LEVELS


def _solarise(x: Tensor, amount: Tensor) -> Tensor:
    """Invert what is brighter than a threshold, which falls from white to black."""
    return torch.where(x >= (1 - _axes(amount).abs()) * (_LEVELS + 1) / _LEVELS, 1 - x, x)


def _colour(x: Tensor, amount: Tensor) -> Tensor:
    return x if x.shape[2] != 3 else _blend(x, _grey(x), amount)


def _contrast(x: Tensor, amount: Tensor) -> Tensor:
    return _blend(x, _grey(x).mean((1, 2, 3, 4), keepdim=True), amount)


def _brightness(x: Tensor, amount: Tensor) -> Tensor:
    return _blend(x, torch.zeros_like(x), amount)


def _sharpness(x: Tensor, amount: Tensor) -> Tensor:
    """Blend with a smoothed picture; its border keeps its values."""
    if min(x.shape[-2:]) < 3:
        return x
    smooth = x.clone()
    flat = x.reshape(-1, 1, *x.shape[-2:])
    inner = F.conv2d(flat, _SMOOTH.to(x)[None, None])
    smooth[..., 1:-1, 1:-1] = inner.view(*x.shape[:3], *inner.shape[-2:])
    return _blend(x, smooth, amount)


def _moved(x: Tensor, rows: tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Sample pictures where an affine map sends each pixel, in units of half a side; 0 outside."""
    theta = torch.stack([torch.stack(row, -1) for row in rows], 1).to(x)
    flat = x.flatten(1, 2)
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    return F.grid_sample(flat, grid, align_corners=False).view_as(x)


def _rotate(x: Tensor, amount: Tensor) -> Tensor:
    """Turn by up to 30 degrees."""
    angle, (height, width) = amount * math.pi / 6, x.shape[-2:]
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    return _moved(x, ((cosine, -sine * height / width, zero), (sine * width / height, cosine, zero)))


def _shear_x(x: Tensor, amount: Tensor) -> Tensor:
    """Shift each row by up to 0.3 of its distance from the middle."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _moved(x, ((one, 0.3 * amount * x.shape[-2] / x.shape[-1], zero), (zero, one, zero)))


def _shear_y(x: Tensor, amount: Tensor) -> Tensor:
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _moved(x, ((one, zero, zero), (0.3 * amount * x.shape[-1] / x.shape[-2], one, zero)))


def _translate_x(x: Tensor, amount: Tensor) -> Tensor:
    """Shift by up to 0.45 of the side."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _moved(x, ((one, zero, 0.9 * amount), (zero, one, zero)))


def _translate_y(x: Tensor, amount: Tensor) -> Tensor:
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _moved(x, ((one, zero, zero), (zero, one, 0.9 * amount)))


OPERATIONS: Mapping[str, Operation] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalise": _equalise,
    "posterise": _posterise,
    "solarise": _solarise,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "rotate": _rotate,
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
}
"""By name: pictures ``[b, L, C, H, W]`` and signed amounts ``[b]`` between -1 and 1, to changed pictures."""
