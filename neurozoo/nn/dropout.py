"""Dropout whose masks come four to a random word: on a CPU drawing them is what dropout costs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Dropout", "dropout_factors", "eager_on_cpu"]

_LEVELS = 2**16


class Dropout(nn.Dropout):
    """As ``torch.nn.Dropout``, with its masks by :func:`dropout_factors` on a CPU.

    Attributes:
        plain: Whether to draw them as torch does, one random number an element.
    """

    plain = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if self.plain or not eager_on_cpu(x):
            return F.dropout(x, self.p, True)
        return x * dropout_factors(x, self.p)


def eager_on_cpu(x: Tensor) -> bool:
    """Whether to do what suits torch's CPU operators, called one by one: not while compiling or under autocast."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")


def dropout_factors(like: Tensor, p: float) -> Tensor:
    """What dropout multiplies with: 0 where an element is lost, elsewhere what keeps the mean.

    Of each random 64-bit word of torch's generator four elements take 16 bits each. An element is lost with
    the multiple of 2^-16 nearest to ``p``, and the other factor goes with that, so that no mean is shifted.

    Args:
        like: Gives shape, dtype and device.
        p: Probability, dimensionless, below 1.
    """
    lost = min(round(p * _LEVELS), _LEVELS - 1)
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64, device=like.device).random_(-(2**63), None)
    bits = words.view(torch.int16)[: like.numel()].view(like.shape)
    # Compared into numbers: a mask of bools is several times as slow to multiply with.
    kept = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    return torch.ge(bits, lost - _LEVELS // 2, out=kept).mul_(_LEVELS / (_LEVELS - lost))
