"""Attention of narrow heads on a CPU: in pieces that stay in its cache, by products in shapes that it is fast at.

The scores of SMILE's 5 heads, 6 features wide each, are many times as large as all that goes in and comes out. So
they are made for a few samples at a time, used while they are in the cache, and made again in the backward instead of
being kept. A product whose result has 6 columns takes several times what the same one takes with 6 rows, so that every
narrow result is computed transposed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurozoo.nn.dropout import draw, factors_of

__all__ = ["narrow_attention", "narrow_is_faster"]

PIECE = 2**18
"""Scores at a time: a megabyte in float32."""
WIDEST = 16
"""Features of a head up to which it is the faster."""


def narrow_is_faster(query: Tensor, heads: int) -> bool:
    """Whether :func:`narrow_attention` suits: narrow heads on a CPU, not while compiling or under autocast."""
    eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return query.device.type == "cpu" and eager and query.shape[-1] <= WIDEST * heads


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
        ctx.heads, ctx.dropout, ctx.scale = heads, dropout, 1.0 / math.sqrt(query.shape[2] // heads)
        q, k, v = _narrow(query, heads).mul(ctx.scale), _narrow(key, heads), _narrow(value, heads)  # [B H, D/H, L]
        rows, shape = q.shape[0], (q.shape[0], q.shape[2], k.shape[2])
        bits = draw(shape, q.device) if dropout else None
        least = None
        if mask is not None:
            # Added, which is several times as fast as filling in; what it is added to is lost in the rounding.
            least = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min)
            least = least.repeat_interleave(heads, 0)[:, None]
        attended = torch.empty_like(q)
        for piece in _pieces(rows, shape[1] * shape[2]):
            weights = _weights(q[piece], k[piece], None if least is None else least[piece])
            if bits is not None:
                weights.mul_(factors_of(bits[piece], dropout, weights.dtype))
            torch.bmm(v[piece], weights.transpose(1, 2), out=attended[piece])
        ctx.save_for_backward(q, k, v, least, attended, bits)
        return _wide(attended, heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, least, attended, bits = ctx.saved_tensors
        g = _narrow(gradients[0], ctx.heads)
        # Of each query, the sum over its keys of weight times gradient, which the softmax takes away.
        sums = (attended * g).sum(1)[:, :, None]
        by_query, by_key, by_value = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for piece in _pieces(q.shape[0], q.shape[2] * k.shape[2]):
            weights = _weights(q[piece], k[piece], None if least is None else least[piece])
            by_score = torch.bmm(g[piece].transpose(1, 2), v[piece])  # [rows, Q, S]
            dropped = weights
            if bits is not None:
                factors = factors_of(bits[piece], ctx.dropout, weights.dtype)
                dropped = weights * factors
                by_score.mul_(factors)
            torch.bmm(g[piece], dropped, out=by_value[piece])
            by_score.sub_(sums[piece]).mul_(weights)
            torch.bmm(k[piece], by_score.transpose(1, 2), out=by_query[piece])
            torch.bmm(q[piece], by_score, out=by_key[piece])
        heads = ctx.heads
        return _wide(by_query.mul_(ctx.scale), heads), _wide(by_key, heads), _wide(by_value, heads), None, None, None


def _pieces(rows: int, each: int) -> Iterator[slice]:
    """Slices of the rows that have so many scores each."""
    step = max(1, PIECE // max(each, 1))
    return (slice(first, first + step) for first in range(0, rows, step))


def _weights(q: Tensor, k: Tensor, least: Tensor | None) -> Tensor:
    scores = torch.bmm(q.transpose(1, 2), k)  # [rows, Q, S]
    return torch.softmax(scores if least is None else scores.add_(least), -1)


def _narrow(x: Tensor, heads: int) -> Tensor:
    """``[B, L, D]`` as ``[B H, D/H, L]``, features first."""
    batch, length, width = x.shape
    return x.view(batch, length, heads, width // heads).permute(0, 2, 3, 1).reshape(batch * heads, -1, length)


def _wide(x: Tensor, heads: int) -> Tensor:
    """The way back."""
    rows, width, length = x.shape
    return x.view(rows // heads, heads * width, length).transpose(1, 2).contiguous()
