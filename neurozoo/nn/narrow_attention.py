"""Attention of narrow heads on a CPU: in pieces that stay in its cache, by operations that it is fast at.

The scores of SMILE's 5 heads, 6 features wide each, are many times as large as all that goes in and comes out. So
they are made for a few samples at a time, used while they are in the cache, and made again in the backward instead of
being kept. Features come before positions, since a product whose result has 6 columns takes several times what the
same one takes with 6 rows. And no score has its row's largest taken away where all are known to be small: finding it
takes longer than the power.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurozoo.nn.dropout import draw, factors_of

__all__ = ["features_first", "features_last", "few_scores", "narrow_attention", "narrow_is_faster"]

PIECE = 2**18
"""Scores at a time: a megabyte in float32."""
WIDEST = 16
"""Features of a head up to which it is the faster."""
FEW = 2**17
"""Scores up to which all are made at once and kept: calling more operations then takes longer than they do."""
SMALL = 60.0
"""Scores up to which the powers of 2 can be added up as they are, far from the ends of float32."""
LN_2 = math.log(2.0)


def narrow_is_faster(query: Tensor, heads: int) -> bool:
    """Whether :func:`narrow_attention` suits: narrow heads on a CPU, not while compiling or under autocast."""
    eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return query.device.type == "cpu" and eager and query.shape[-1] <= WIDEST * heads


def few_scores(samples: int, heads: int, asking: int, asked: int) -> bool:
    """Whether calling operations takes longer than making all scores of so many queries and keys."""
    return samples * heads * asking * asked <= FEW


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
        ``[B, D, Q]``; of no use for a sample without any valid key.
    """
    few = few_scores(len(query), heads, query.shape[2], key.shape[2])
    attend = _at_once if few else _NarrowAttention.apply
    attended: Tensor = attend(query, key, value, mask, heads, dropout)
    return attended


def _at_once(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float) -> Tensor:
    width = query.shape[1] // heads
    q, k, v = (x.reshape(-1, width, x.shape[2]) for x in (query / math.sqrt(width), key, value))  # [B H, D/H, L]
    scores = torch.bmm(k.transpose(1, 2), q)  # [B H, S, Q]
    if mask is not None:
        unheard = mask.repeat_interleave(heads, 0).logical_not_()[..., None]
        scores = scores.masked_fill(unheard, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, 1)
    if dropout:
        weights = weights * factors_of(draw(weights.shape, weights.device), dropout, weights.dtype)
    return torch.bmm(v, weights).view(query.shape)


class _NarrowAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, dropout: float
    ) -> Tensor:
        width = query.shape[1] // heads
        ctx.shapes, ctx.scale, ctx.dropout = (query.shape, key.shape), 1.0 / math.sqrt(width), dropout
        # The scores are in powers of 2, which are made in half the time of those of e.
        q, k, v = (x.reshape(-1, width, x.shape[2]) for x in (query * (ctx.scale / LN_2), key, value))  # [B H, D/H, L]
        rows, asking, asked = q.shape[0], q.shape[2], k.shape[2]
        # One more feature of the values, whose sum is a query's total. Keys that do not count have none of them.
        if mask is None:
            v = torch.cat((v, v.new_ones(rows, 1, asked)), 1)
        else:
            counted = mask.repeat_interleave(heads, 0)[:, None].to(v.dtype)
            v = torch.cat((v * counted, counted), 1)
        bits = draw((rows, asked, asking), q.device) if dropout else None
        ctx.small, ctx.masked = _all_small(q, k), mask is not None
        sums = q.new_empty(rows, width + 1, asking)
        for piece in _pieces(rows, asking * asked):
            scores = _powers(ctx, q, k, v, piece)  # [rows, S, Q]
            if bits is None:
                torch.bmm(v[piece], scores, out=sums[piece])
            else:
                sums[piece, width:] = torch.bmm(v[piece, width:], scores)
                scores.mul_(factors_of(bits[piece], dropout, v.dtype))
                sums[piece, :width] = torch.bmm(v[piece, :width], scores)
        total = sums[:, width:].clamp(min=torch.finfo(q.dtype).tiny)
        attended = sums[:, :width] / total
        ctx.save_for_backward(q, k, v, total, attended, bits)
        return attended.view(query.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, total, attended, bits = ctx.saved_tensors
        width = q.shape[1]
        g = gradients[0].reshape(attended.shape) / total
        # Of a power: what its value is worth, less what all of its query's are.
        less = (attended * g).sum(1, keepdim=True).neg_()
        by_query, by_key, by_value = torch.empty_like(q), torch.empty_like(k), torch.empty_like(k)
        for piece in _pieces(q.shape[0], q.shape[2] * k.shape[2]):
            scores = _powers(ctx, q, k, v, piece)
            if bits is None:
                dropped = scores
                by_score = torch.bmm(v[piece].transpose(1, 2), torch.cat((g[piece], less[piece]), 1))
            else:
                factors = factors_of(bits[piece], ctx.dropout, scores.dtype)
                dropped = scores * factors
                by_score = torch.bmm(v[piece, :width].transpose(1, 2), g[piece]).mul_(factors)
                by_score.baddbmm_(v[piece, width:].transpose(1, 2), less[piece])
            torch.bmm(g[piece], dropped.transpose(1, 2), out=by_value[piece])
            by_score.mul_(scores)
            torch.bmm(k[piece], by_score, out=by_query[piece])
            torch.bmm(q[piece], by_score.transpose(1, 2), out=by_key[piece])
        if ctx.masked:
            by_value.mul_(v[:, width:])
        asking, asked = ctx.shapes
        by_query, by_key = by_query.mul_(ctx.scale).view(asking), by_key.mul_(LN_2).view(asked)
        return by_query, by_key, by_value.view(asked), None, None, None


def _pieces(rows: int, each: int) -> Iterator[slice]:
    """Slices of the rows that have so many scores each."""
    step = max(1, PIECE // max(each, 1))
    return (slice(first, first + step) for first in range(0, rows, step))


def _all_small(q: Tensor, k: Tensor) -> bool:
    """Whether no score can be large, as no product of a query's and a key's length is (Cauchy and Schwarz)."""
    return bool((q * q).sum(1).amax() * (k * k).sum(1).amax() <= SMALL**2)


def _powers(ctx: Any, q: Tensor, k: Tensor, v: Tensor, piece: slice) -> Tensor:
    """2 to the scores ``[rows, S, Q]``, up to a factor for each query."""
    scores = torch.bmm(k[piece].transpose(1, 2), q[piece])
    if not ctx.small:
        if ctx.masked:
            scores.masked_fill_(v[piece, -1, :, None] == 0, torch.finfo(scores.dtype).min)
        scores.sub_(scores.amax(1, keepdim=True))
    return scores.exp2_()
