"""Multi-head attention and the encoder block that SMILE uses throughout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neurozoo.core.interfaces import Tokens
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import sinusoidal_code

__all__ = ["LAYER_NORM_EPS", "EncoderBlock", "MultiHeadAttention", "encode_each", "record_attention"]

LAYER_NORM_EPS = 1e-12
"""Of every layer norm in SMILE, dimensionless (as published)."""
PIECE = 2**18
"""Scores computed at a time on a CPU: a megabyte in float32, which stays in its cache."""


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with H heads (Vaswani et al. 2017, section 3.2).

    Args:
        hidden: Features D of queries, keys and values.
        heads: Heads H; divides ``hidden``.
        dropout: Probability, on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Attend from ``query`` ``[B, Q, D]`` to ``key`` and ``value`` ``[B, S, D]``.

        Args:
            query: Positions that attend.
            key: Positions attended to, as they are compared with the queries.
            value: The same positions, as they are summed.
            mask: ``[B, S]`` bool, the keys that count; None for all.

        Returns:
            ``[B, Q, D]``; 0 for a sample without any valid key.
        """
        scale = math.sqrt(query.shape[2] // self.heads)
        q, k, v = self._split(self.query(query) / scale), self._split(self.key(key)), self._split(self.value(value))
        step = _samples_at_a_time(q, k)
        masks = [None] * len(torch.split(q, step)) if mask is None else torch.split(mask, step)
        split = zip(torch.split(q, step), torch.split(k, step), torch.split(v, step), masks, strict=True)
        pieces = [self._attend(*piece) for piece in split]
        attended: Tensor = self.out(pieces[0] if len(pieces) == 1 else torch.cat(pieces))
        return attended if mask is None else attended * mask.any(1)[:, None, None]

    def _split(self, x: Tensor) -> Tensor:
        # Features before positions: with 6 features a head, as SMILE has, a CPU multiplies rows faster than columns.
        return x.transpose(1, 2).reshape(len(x), self.heads, x.shape[2] // self.heads, x.shape[1])  # [B, H, D/H, L]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Return the weighted sums ``[B, Q, D]`` of values ``[B, H, D/H, S]``; queries come scaled."""
        (samples, heads, width, queries), keys = q.shape, k.shape[3]
        scores = torch.bmm(q.flatten(0, 1).transpose(1, 2), k.flatten(0, 1))  # [B H, Q, S]
        if mask is not None:
            left_out = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device)
            left_out = left_out.masked_fill(~mask, torch.finfo(scores.dtype).min)
            scores = scores + left_out.repeat_interleave(heads, 0)[:, None]
        weights = self.dropout(torch.softmax(scores, -1).view(samples, heads, queries, keys))
        sums = torch.bmm(v.flatten(0, 1), weights.flatten(0, 1).transpose(1, 2))  # [B H, D/H, Q]
        return sums.view(samples, heads * width, queries).transpose(1, 2)


def _samples_at_a_time(q: Tensor, k: Tensor) -> int:
    """Return how many samples' scores fit a CPU's cache; all samples on other devices and under torch.compile."""
    if q.device.type != "cpu" or torch.compiler.is_compiling():
        return max(len(q), 1)
    return max(PIECE // max(q.shape[1] * q.shape[3] * k.shape[3], 1), 1)


@contextmanager
def record_attention(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the weights ``[B, H, Q, S]`` of each attention, by dotted name, at every forward inside the block.

    They are those before dropout, detached; each query's add up to 1. A later forward replaces an earlier one's.
    """
    weights: dict[str, Tensor] = {}

    def hooked(name: str, attention: MultiHeadAttention) -> Iterator[RemovableHandle]:
        pieces: list[Tensor] = []

        def join(*_: object) -> None:
            weights[name] = torch.cat(pieces)
            pieces.clear()

        # The dropout gets the weights of some samples, and nothing else.
        yield attention.dropout.register_forward_pre_hook(lambda _, inputs: pieces.append(inputs[0].detach()))
        yield attention.register_forward_hook(join)

    attentions = [(name, each) for name, each in module.named_modules() if isinstance(each, MultiHeadAttention)]
    handles = [handle for name, each in attentions for handle in hooked(name, each)]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


class EncoderBlock(nn.Module):
    """SMILE's encoder block ``Enc(q, k, v)`` with ``k`` and ``v`` the same sequence, post-norm.

    The embedding ``Dropout(LayerNorm(2 x + PE))`` is applied to both sides with shared weights.
    The factor 2 is the published code's: its position module returns ``x + PE`` and the caller
    adds ``x`` again.

    Args:
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        dropout: Probability, on embeddings and on both sublayers' outputs.
        attention_dropout: Probability, on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.embedding_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.attention = MultiHeadAttention(hidden, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.inner = nn.Linear(hidden, 4 * hidden)
        self.outer = nn.Linear(4 * hidden, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tokens, source: Tokens) -> Tokens:
        """Refine ``query`` ``[B, Q, D]`` by attending to ``source`` ``[B, S, D]``.

        Returns:
            A sequence at the places of ``query``; rows its mask leaves out hold nothing of use.
        """
        asked = self._embed(source)
        embedded = asked if source is query else self._embed(query)
        # Queries, keys and values draw their dropout separately, as published.
        q = self.dropout(embedded)
        attended = self.attention(q, self.dropout(asked), self.dropout(asked), source.mask)
        x = self.attention_norm(self.dropout(attended) + q)
        fed = self.outer(torch.relu(self.inner(x)))
        return query.with_x(self.output_norm(self.dropout(fed) + x))

    def _embed(self, sequence: Tokens) -> Tensor:
        x = sequence.x
        code = sinusoidal_code(sequence.position, x.shape[1], x.shape[2], x.dtype)
        embedded: Tensor = self.embedding_norm(torch.add(code, x, alpha=2))
        return embedded


def encode_each(blocks: Sequence[EncoderBlock], queries: Sequence[Tokens], sources: Sequence[Tokens]) -> list[Tokens]:
    """Call each block with its query and its source."""
    return [block(query, source) for block, query, source in zip(blocks, queries, sources, strict=True)]
