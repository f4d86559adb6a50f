"""Synapses with batch normalisation, over T and B merged or in each step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Synapse
from neurozoo.core.saving import recomputable, saves_compactly

__all__ = [
    "Normalised",
    "NormalisedEachStep",
    "NormalisedTokens",
    "PooledSynapse",
    "Statistics",
    "conv_norm",
]

Statistics = Literal["all-steps", "each-step"]
"""Of batch norm in training: over all steps and samples, or over the samples of each step."""


class Normalised(Synapse):
    """``weight -> batch norm`` with statistics over the valid rows only, so that padding does not shift them.

    Args:
        weight: A linear layer or convolution without bias.
        features: Its output features or channels.
    """

    def __init__(self, weight: nn.Module, features: int) -> None:
        super().__init__()
        self.weight = weight
        self.norm = nn.BatchNorm1d(features)
        self._times = 1

    def held(self, x: Tensor, steps: int) -> Tensor:
        self._times = steps
        try:
            return super().held(x, steps)
        finally:
            self._times = 1

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents of rows ``[R, ...]``, ``[R, C]`` or ``[R, C, ...]``."""
        return self.normalised(self.weight(x), valid)

    def normalised(self, weighted: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise ``[R, C, ...]``."""
        flat = weighted.flatten(2) if weighted.dim() > 2 else weighted[..., None]  # [R, C, places]
        alone = flat.shape[0] * flat.shape[2] == 1  # torch refuses it, and a last batch may hold one sample
        if self.training and (valid is not None or alone):
            return self._over_valid(flat, valid).view_as(weighted)
        before = self.norm.running_var if self.training and self._times > 1 else None
        before = None if before is None else before.clone()
        normal: Tensor = self.norm(flat)
        if before is not None:
            self._count_repeatedly(before, flat.shape[0] * flat.shape[2])
        if self.training and saves_compactly():
            recomputable(normal, _again(self.norm, normal, flat.dtype), flat.detach())
        return normal.view_as(weighted)

    @torch.no_grad()
    def _count_repeatedly(self, before: Tensor, count: int) -> None:
        """Correct the running variance, ``before`` an update by ``count`` numbers that count several times.

        It gets the unbiased variance, ``n / (n - 1)`` times that of n numbers; means are the same.
        """
        norm, many = self.norm, count * self._times
        assert norm.running_var is not None
        if count > 1 and norm.momentum is not None:
            share = norm.running_var - (1 - norm.momentum) * before
            # As torch's batch norm, which keeps it for the backward and does not need it there, without a new version.
            norm.running_var.data += share * (many / (many - 1) * (count - 1) / count - 1)

    def _over_valid(self, flat: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise ``[R, C, places]`` by the statistics of the valid rows, and update the running statistics.

        One value has no deviation: it becomes the norm's bias, and the running variance stays.

        Weighted sums instead of selected rows, as selecting would synchronise with the device.
        """
        norm = self.norm
        weight = flat.new_ones(len(flat), 1, 1) if valid is None else valid[:, None, None].to(flat.dtype)
        count = weight.sum() * flat.shape[2]
        mean = (flat * weight).sum((0, 2)) / count.clamp(min=1)
        centred = flat - mean[:, None]
        variance = (centred.square() * weight).sum((0, 2)) / count.clamp(min=1)
        with torch.no_grad():
            momentum, unbias = norm.momentum or 0.1, count / (count - 1).clamp(min=1)
            for running, batch, least in ((norm.running_mean, mean, 1), (norm.running_var, variance * unbias, 2)):
                assert running is not None
                running.lerp_(torch.where(count >= least, batch, running), momentum)
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1
        scale = norm.weight / (variance + norm.eps).sqrt()
        return (centred * scale[:, None] + norm.bias[:, None]) * weight


def _again(norm: nn.BatchNorm1d, normal: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return what computes a batch norm's result in training again, to the bit."""
    scale, shift, eps = norm.weight.detach(), norm.bias.detach(), norm.eps
    mean, inverse = (getattr(normal.grad_fn, f"_saved_result{n}", None) for n in (1, 2))
    if mean is None or inverse is None or not _is_product_and_sum(dtype):
        return lambda x: nn.functional.batch_norm(x, None, None, scale, shift, True, eps=eps)
    mean, inverse = mean.detach(), inverse.detach()
    return lambda x: _product_and_sum(x, mean, inverse, scale, shift)


def _product_and_sum(x: Tensor, mean: Tensor, inverse: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise ``[R, C, places]`` by known statistics in one pass, a fifth of a batch norm's time."""
    factor = inverse * scale
    added = torch.addcmul(shift, mean, factor, value=-1)
    return torch.addcmul(added[:, None], x, factor[:, None])


@cache
def _is_product_and_sum(dtype: torch.dtype) -> bool:
    """Whether torch's batch norm on this processor equals :func:`_product_and_sum` to the bit."""
    random = torch.Generator().manual_seed(0)
    x, (scale, shift) = torch.randn(16, 37, 67, generator=random, dtype=dtype), torch.rand(2, 37, generator=random)
    scale, shift = scale.to(dtype), shift.to(dtype)
    with torch.no_grad():
        normal, mean, inverse = torch.native_batch_norm(x, scale, shift, None, None, True, 0.1, 1e-5)
        return torch.equal(_product_and_sum(x, mean, inverse, scale, shift), normal)


class NormalisedTokens(Normalised):
    """A weight applied to each token of ``[R, P, D]``, normalised over rows and tokens; features are the last axis."""

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[R, P, D']`` of tokens ``[R, P, D]``."""
        weighted: Tensor = self.weight(x).transpose(1, 2)
        return self.normalised(weighted, valid).transpose(1, 2)


class PooledSynapse(Normalised):
    """``weight -> batch norm -> max pool 3x3``, which halves the currents of a picture before the neurons."""

    def __init__(self, weight: nn.Module, features: int) -> None:
        super().__init__(weight, features)
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return currents ``[R, C, H/2, W/2]``, rounded up, of rows ``[R, C', H, W]``."""
        pooled: Tensor = self.pool(super().forward(x, valid))
        return pooled


class NormalisedEachStep(Normalised):
    """``weight -> batch norm`` with statistics of each step, and running statistics updated once a step.

    That is what a network computes that runs step by step. The last steps weigh most in the running statistics: at a
    momentum of 0.1 the last 10 make up 65 %. In evaluation it equals :class:`Normalised`.
    """

    over_time = True

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the currents of ``[T, B, ...]``; ``valid`` is ``[T or 1, B]``."""
        weighted: Tensor = self.weight(x.flatten(0, 1))
        if not self.training:
            return self.normalised(weighted, None).view(*x.shape[:2], *weighted.shape[1:])
        steps = weighted.view(*x.shape[:2], *weighted.shape[1:]).unbind(0)
        masks = [None] * len(steps) if valid is None else valid.expand(x.shape[:2]).unbind(0)
        return torch.stack([self.normalised(step, mask) for step, mask in zip(steps, masks, strict=True)])

    def by_window(self) -> tuple[int, Callable[[Tensor], Tensor]]:
        """As of :class:`~neurozoo.core.layer.Synapse`; in evaluation a step needs no other one."""
        return 1, lambda window: self(window)[0]


def conv_norm(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    *,
    groups: int = 1,
    bias: bool = False,
    statistics: Statistics = "all-steps",
) -> Normalised:
    """Make a 2-D convolution that keeps the size at stride 1, with batch norm; ``kernel`` is odd."""
    make = Normalised if statistics == "all-steps" else NormalisedEachStep
    return make(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=bias), outputs)
