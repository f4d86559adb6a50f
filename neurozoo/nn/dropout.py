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
    """As ``torch.nn.Dropout``, with its masks by :func:`draw` on a CPU.

    Attributes:
        plain: Whether to draw them as torch does, one random number an element.
    """

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.plain or x.device.type != "cpu":
            return F.dropout(x, self.p, True)
        return x * factors_of(draw(x.shape, x.device), self.p, x.dtype)


def draw(shape: Sequence[int], device: torch.device) -> Tensor:
    """16 random bits an element as int16, four to a 64-bit word of torch's generator; the same when compiled."""
    count = math.prod(shape)
    bits: Tensor = _random_bits(count, device) if torch.compiler.is_compiling() else _bits(count, device)
    return bits.view(shape)


def _bits(count: int, device: torch.device) -> Tensor:
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.int16)[:count]


@torch.library.custom_op("neurozoo::random_bits", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _random_bits(count: int, device: torch.device) -> Tensor:
    return _bits(count, device).clone()


@_random_bits.register_fake
def _(count: int, device: torch.device) -> Tensor:
    return torch.empty(count, dtype=torch.int16, device=device)


def lost_of(p: float) -> int:
    """Of 2^16 levels that random bits have, how many mean that an element is lost."""
    return min(round(p * _LEVELS), _LEVELS - 1)


def factors_of(bits: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """What dropout multiplies with: 0 where an element is lost, elsewhere what keeps the mean.

    An element is lost with the multiple of 2^-16 nearest to ``p``, and the other factor goes with that, so
    that no mean is shifted.

    Args:
        bits: See :func:`draw`.
        p: Probability, dimensionless, below 1.
        dtype: Of the result.
    """
    lost = lost_of(p)
    if torch.compiler.is_compiling():
        return (bits >= lost - _LEVELS // 2).to(dtype) * (_LEVELS / (_LEVELS - lost))
    # Compared into numbers: a mask of bools is several times as slow to multiply with.
    kept = torch.empty(bits.shape, dtype=dtype, device=bits.device)
    return torch.ge(bits, lost - _LEVELS // 2, out=kept).mul_(_LEVELS / (_LEVELS - lost))
