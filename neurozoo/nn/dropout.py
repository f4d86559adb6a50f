"""Dropout whose masks come four to a random word: on a CPU drawing them is what dropout costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dropout", "draw", "factors_of", "lost_of"]

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with masks by :func:`draw` on a CPU, unless compiled by torch.compile.

    Torch's own masks cost SMILE a fifth of its step more.

    Attributes:
        plain: Whether to draw masks as torch does, one random number an element.
    """

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.plain or x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p, True)
        return x * factors_of(draw(x.shape, x.device), self.p, x.dtype)


def draw(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return 16 random bits an element as int16, four to a 64-bit word of torch's generator."""
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.int16)[:count].view(shape)


def lost_of(p: float) -> int:
    """Return the number of the 65,536 levels that drop an element."""
    return min(round(p * _LEVELS), _LEVELS - 1)


def factors_of(bits: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """Return dropout's factors: 0 where an element is dropped, elsewhere the factor that keeps the mean.

    An element is dropped with the multiple of 2^-16 nearest to ``p``; the other factor is computed from that
    multiple, so that the mean is not shifted.

    Args:
        bits: See :func:`draw`.
        p: Probability, dimensionless, below 1.
        dtype: Of the result.
    """
    lost = lost_of(p)
    # Compared into numbers: a mask of bools is several times as slow to multiply with.
    kept = torch.empty(bits.shape, dtype=dtype, device=bits.device)
    return torch.ge(bits, lost - _LEVELS // 2, out=kept).mul_(_LEVELS / (_LEVELS - lost))
