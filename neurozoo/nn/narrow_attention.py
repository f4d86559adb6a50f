"""Attention of narrow heads on a CPU: the products in the shapes that a CPU multiplies fast, and fewer passes.

SMILE's heads are 6 features wide. A product whose result has 6 columns takes several times what the same
one takes with 6 rows, so every narrow result is computed transposed. The softmax's backward takes its row sums
from the narrow output, and works in place.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurozoo.nn.dropout import dropout_factors

__all__ = ["narrow_attention"]


def narrow_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float
) -> Tensor:
    """``softmax(Q K^T / sqrt(D/H)) V`` of H heads (Vaswani et al. 2017, section 3.2.1), up to rounding.

    Args:
        query: ``[B, Q, D]``.
        key: ``[B, S, D]``.
        value: ``[B, S, D]``.
        mask: ``[B, S]`` bool, the keys that count; None for all.
        heads: H, divides D.
        dropout: Probability, on the weights.

    Returns:
        ``[B, Q, D]``.
    """
    attended: Tensor = _NarrowAttention.apply(query, key, value, mask, heads, dropout)  # type: ignore[no-untyped-call]
    return attended


class _NarrowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float
    ) -> Tensor:
        ctx.scale = 1.0 / math.sqrt(query.shape[2] // heads)
        q, k, v = _narrow(query, heads), _narrow(key, heads), _narrow(value, heads)  # [B H, D/H, L]
        q = q * ctx.scale
        scores = torch.bmm(q.transpose(1, 2), k)  # [B H, Q, S]
        if mask is not None:
            # Added, which is several times as fast as filling in; what it is added to is lost in the rounding.
            least = torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, torch.finfo(scores.dtype).min)
            scores.view(-1, heads, *scores.shape[1:]).add_(least[:, None, None, :])
        weights = torch.softmax(scores, -1)
        factors = dropout_factors(weights, dropout) if dropout else None
        kept = weights if factors is None else weights * factors
        attended = torch.bmm(v, kept.transpose(1, 2))  # [B H, D/H, Q]
        ctx.save_for_backward(q, k, v, weights, attended, factors)
        ctx.heads = heads
        return _wide(attended, heads)

    @staticmethod
    @once_differentiable  # type: ignore[misc,no-untyped-call]
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, attended, factors = ctx.saved_tensors
        g = _narrow(gradients[0], ctx.heads)
        rows = (attended * g).sum(1)[:, :, None]  # of each query, the sum over keys of weight times its gradient
        by_value = torch.bmm(g, weights if factors is None else weights * factors)
        by_score = torch.bmm(g.transpose(1, 2), v)  # [B H, Q, S]
        if factors is not None:
            by_score.mul_(factors)
        by_score.sub_(rows).mul_(weights)
        by_query = torch.bmm(k, by_score.transpose(1, 2)).mul_(ctx.scale)
        by_key = torch.bmm(q, by_score)
        heads = ctx.heads
        return _wide(by_query, heads), _wide(by_key, heads), _wide(by_value, heads), None, None, None


def _narrow(x: Tensor, heads: int) -> Tensor:
    """``[B, L, D]`` as ``[B H, D/H, L]``, features first."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).permute(0, 2, 3, 1).reshape(batch * heads, -1, length)


def _wide(x: Tensor, heads: int) -> Tensor:
    """The way back."""
    rows, width, length = x.shape
    return x.view(rows // heads, heads * width, length).transpose(1, 2).contiguous()
