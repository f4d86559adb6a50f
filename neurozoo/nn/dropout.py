"""Dropout with four mask elements per random word, as drawing random words is its main cost on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

__all__ = ["Dropout", "HeldDropout", "Probability", "draw", "factors_of", "lost_of"]

Probability = Annotated[float, Field(ge=0, lt=1)]
_LEVELS = 2**16


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` with masks by :func:`draw` on a CPU.

    With torch's own masks a step of SMILE takes at least a fifth longer, and compiled layers with dropout three times
    as long.

    Attributes:
        plain: Whether to draw masks like torch, one random number per element.
    """

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.plain or x.device.type != "cpu":
            return F.dropout(x, self.p, True)
        return x * factors_of(draw(x.shape, x.device), self.p, x.dtype)


class HeldDropout(Dropout):
    """Dropout of ``[T, B, ...]`` with one mask per sample for all steps, drawn at each forward."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        return x * self.factors(x)

    def factors(self, x: Tensor) -> Tensor:
        """Draw the factors ``[1, B, ...]``: 0 where an element is dropped, else what keeps the mean."""
        return super().forward(torch.ones_like(x[:1]))


def draw(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return 16 random bits per element as int16, four per 64-bit word of torch's generator; equal when compiled."""
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=device)
    if torch.compiler.is_compiling():
        _fill(words)
    else:
        words.random_(-(2**63), None)
    return words.view(torch.int16)[:count].view(shape)


# An operator, as the own generator of torch.compile is several times slower and draws other numbers. It changes its
# argument, as two equal calls would be taken for one otherwise: layers of one size would drop the same elements.
@torch.library.custom_op("neurozoo::fill_with_random_bits", mutates_args=("words",))
def _fill(words: Tensor) -> None:
    words.random_(-(2**63), None)


@_fill.register_fake
def _(words: Tensor) -> None:
    pass


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
    if torch.compiler.is_compiling():
        return (bits >= lost - _LEVELS // 2).to(dtype) * (_LEVELS / (_LEVELS - lost))
    # Compared into floats: multiplying with a bool mask is several times slower.
    kept = torch.empty(bits.shape, dtype=dtype, device=bits.device)
    return torch.ge(bits, lost - _LEVELS // 2, out=kept).mul_(_LEVELS / (_LEVELS - lost))
