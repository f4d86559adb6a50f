"""Attention of narrow heads on a CPU: in pieces that stay in its cache, by operations that it is fast at.

The scores of SMILE's 5 heads, 6 features wide each, are many times as large as all that goes in and comes out. So
they are made for a few samples at a time, used while they are in the cache, and made again in the backward instead of
being kept. Features come before positions, since a product whose result has 6 columns takes several times what the
same one takes with 6 rows. And no score has its row's largest taken away where all are known to be small: finding it
takes longer than the exponential.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurozoo.nn.dropout import draw, factors_of

__all__ = ["features_first", "features_last", "narrow_attention", "narrow_is_faster"]

PIECE = 2**18
"""Scores at a time: a megabyte in float32."""
WIDEST = 16
"""Features of a head up to which it is the faster."""
FEW = 2**16
"""Scores up to which it is not asked whether all are small."""
SMALL = 40.0
"""Scores up to which their exponentials can be added up as they are, far from the ends of float32."""


def narrow_is_faster(query: Tensor, heads: int) -> bool:
    """Whether :func:`narrow_attention` suits: narrow heads on a CPU, not while compiling or under autocast."""
    eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return query.device.type == "cpu" and eager and query.shape[-1] <= WIDEST * heads


def features_first(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear of ``[B, L, D]`` as ``[B, D', L]``: ``W x^T + b``.

    Args:
        x: Its input.
        weight: ``[D', D]``, or ``[B, D', D]`` for each sample.
        bias: ``[D']``, or ``[B, D']``.
    """
    return torch.bmm(weight.expand(len(x), -1, -1), x.transpose(1, 2)).add_(bias[..., None])


def features_last(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear of ``[B, D, L]`` as ``[B, L, D']``; see :func:`features_first`."""
    return torch.bmm(x.transpose(1, 2), weight.transpose(-1, -2).expand(len(x), -1, -1)).add_(bias[..., None, :])


def narrow_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float
) -> Tensor:
    """``softmax(Q K^T / sqrt(D/H)) V`` of H heads (Vaswani et al. 2017, section 3.2.1), up to rounding.

    Args:
        query: ``[B, D, Q]``, features first.
        key: ``[B, D, S]``.
        value: ``[B, D, S]``.
        mask: ``[B, S]`` bool, the keys that count; None for all.
        heads: H, divides D.
        dropout: Probability, on the weights.

    Returns:
        ``[B, D, Q]``; 0 for a sample without any valid key.
    """
    attended: Tensor = _NarrowAttention.apply(query, key, value, mask, heads, dropout)  # type: ignore[no-untyped-call]
    return attended


class _NarrowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float
    ) -> Tensor:
        width = query.shape[1] // heads
        ctx.shapes, ctx.scale, ctx.dropout = (query.shape, key.shape), 1.0 / math.sqrt(width), dropout
        q, k, v = (x.reshape(-1, width, x.shape[2]) for x in (query * ctx.scale, key, value))  # [B H, D/H, L]
        rows, asking, asked = q.shape[0], q.shape[2], k.shape[2]
        counted = None
        if mask is not None:
            # Keys that do not count have a value of 0, and add nothing to a query's total.
            counted = mask.repeat_interleave(heads, 0)[:, None].to(v.dtype)
            v = v * counted
        bits = draw((rows, asked, asking), q.device) if dropout else None
        # To look takes longer than to take away what a few have.
        ctx.small = rows * asking * asked > FEW and _all_small(q, k)
        attended, total = torch.empty_like(q), q.new_empty(rows, 1, asking)
        for piece in _pieces(rows, asking * asked):
            scores = _exponentials(q, k, counted, piece, ctx.small)  # [rows, S, Q]
            if counted is None:
                torch.sum(scores, 1, keepdim=True, out=total[piece])
            else:
                torch.bmm(counted[piece], scores, out=total[piece])
            if bits is not None:
                scores.mul_(factors_of(bits[piece], dropout, v.dtype))
            torch.bmm(v[piece], scores, out=attended[piece])
        attended.div_(total.clamp_(min=torch.finfo(q.dtype).tiny))
        ctx.save_for_backward(q, k, v, counted, total, attended, bits)
        return attended.view(query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, counted, total, attended, bits = ctx.saved_tensors
        g = gradients[0].reshape(attended.shape) / total
        # Of an exponential: what its value is worth, less what all of its query's are.
        less = (attended * g).sum(1, keepdim=True).neg_()
        by_query, by_key, by_value = torch.empty_like(q), torch.empty_like(k), torch.empty_like(k)
        for piece in _pieces(q.shape[0], q.shape[2] * k.shape[2]):
            scores = _exponentials(q, k, counted, piece, ctx.small)
            by_score = torch.bmm(v[piece].transpose(1, 2), g[piece])
            dropped = scores
            if bits is not None:
                factors = factors_of(bits[piece], ctx.dropout, scores.dtype)
                by_score.mul_(factors)
                dropped = scores * factors
            torch.bmm(g[piece], dropped.transpose(1, 2), out=by_value[piece])
            if counted is None:
                by_score.add_(less[piece])
            else:
                by_score.baddbmm_(counted[piece].transpose(1, 2), less[piece])
            by_score.mul_(scores)
            torch.bmm(k[piece], by_score, out=by_query[piece])
            torch.bmm(q[piece], by_score.transpose(1, 2), out=by_key[piece])
        if counted is not None:
            by_value.mul_(counted)
        asking, asked = ctx.shapes
        return by_query.mul_(ctx.scale).view(asking), by_key.view(asked), by_value.view(asked), None, None, None


def _pieces(rows: int, each: int) -> Iterator[slice]:
    """Slices of the rows that have so many scores each."""
    step = max(1, PIECE // max(each, 1))
    return (slice(first, first + step) for first in range(0, rows, step))


def _all_small(q: Tensor, k: Tensor) -> bool:
    """Whether no score can be large, as no product of a query's and a key's length is (Cauchy and Schwarz)."""
    return bool((q * q).sum(1).amax() * (k * k).sum(1).amax() <= SMALL**2)


def _exponentials(q: Tensor, k: Tensor, counted: Tensor | None, piece: slice, small: bool) -> Tensor:
    """Of the scores ``[rows, S, Q]``, up to a factor for each query."""
    scores = torch.bmm(k[piece].transpose(1, 2), q[piece])
    if not small:
        if counted is not None:
            scores.masked_fill_(counted[piece].transpose(1, 2) == 0, torch.finfo(scores.dtype).min)
        scores.sub_(scores.amax(1, keepdim=True))
    return scores.exp_()
