"""Multi-head attention and the encoder block that SMILE uses throughout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from neurozoo.core.multimodal import Tokens
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import sinusoidal_code

__all__ = [
    "LAYER_NORM_EPS",
    "EncoderBlock",
    "MultiHeadAttention",
    "SpikingAttention",
    "encode_each",
    "record_attention",
]

LAYER_NORM_EPS = 1e-12
"""Epsilon of every layer norm in SMILE, dimensionless (as published)."""
PIECE = 2**18
"""Scores computed at a time on a CPU: 1 MiB in float32, which fits the cache."""


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
            key: Positions attended to, for the comparison with the queries.
            value: The same positions, for the weighted sum.
            mask: ``[B, S]`` bool, the valid keys; None if all are.

        Returns:
            ``[B, Q, D]``; 0 for a sample without any valid key.
        """
        scale = math.sqrt(query.shape[2] // self.heads)
        q, k, v = self._split(self.query(query) / scale), self._split(self.key(key)), self._split(self.value(value))
        if torch.compiler.is_compiling():  # all samples at once, as an exported program takes any number of them
            return self._masked(self.out(self._attend(q, k, v, mask)), mask)
        step = _samples_at_a_time(q, k)
        by_piece = [torch.split(x, step) for x in (q, k, v)]
        masks = [None] * len(by_piece[0]) if mask is None else torch.split(mask, step)
        pieces = [self._attend(*piece) for piece in zip(*by_piece, masks, strict=True)]
        return self._masked(self.out(pieces[0] if len(pieces) == 1 else torch.cat(pieces)), mask)

    @staticmethod
    def _masked(attended: Tensor, mask: Tensor | None) -> Tensor:
        return attended if mask is None else attended * mask.any(1)[:, None, None]

    def _split(self, x: Tensor) -> Tensor:
        # Features before positions: with 6 features a head, as SMILE has, a CPU multiplies rows faster than columns.
        return x.transpose(1, 2).reshape(x.shape[0], self.heads, x.shape[2] // self.heads, x.shape[1])  # [B, H, D/H, L]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Return the weighted sums ``[B, Q, D]`` of values ``[B, H, D/H, S]``; queries come scaled."""
        (samples, heads, width, queries), keys = q.shape, k.shape[3]
        scores = torch.bmm(q.flatten(0, 1).transpose(1, 2), k.flatten(0, 1))  # [B H, Q, S]
        if mask is not None:
            bias = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device)
            bias = bias.masked_fill(~mask, torch.finfo(scores.dtype).min)
            scores = scores + bias.repeat_interleave(heads, 0)[:, None]
        weights = self.dropout(torch.softmax(scores, -1).view(samples, heads, queries, keys))
        sums = torch.bmm(v.flatten(0, 1), weights.flatten(0, 1).transpose(1, 2))  # [B H, D/H, Q]
        return sums.view(samples, heads * width, queries).transpose(1, 2)


def _samples_at_a_time(q: Tensor, k: Tensor) -> int:
    """Return how many samples' scores fit a CPU's cache; all samples on other devices."""
    if q.device.type != "cpu":
        return max(len(q), 1)
    return max(PIECE // max(q.shape[1] * q.shape[3] * k.shape[3], 1), 1)


class SpikingAttention(nn.Module):
    """Attention of spikes without a softmax, ``q (k^T v)`` with H heads (Zhou et al. 2023, section 3.3, unscaled).

    Args:
        heads: Heads H; divides the features.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return whole numbers ``[..., P, D]`` of spikes ``[..., P, D]`` each."""
        q, k, v = (self.split(each) for each in (query, key, value))
        # Keys with values first: less work where a head has fewer features than there are positions.
        return (q @ (k.transpose(-2, -1) @ v)).transpose(-3, -2).flatten(-2)

    def split(self, spikes: Tensor) -> Tensor:
        """Return ``[..., H, P, D/H]`` of ``[..., P, D]``."""
        # Not -1, which a batch of no samples leaves undefined.
        by_head = spikes.reshape(*spikes.shape[:-1], self.heads, spikes.shape[-1] // self.heads)
        return by_head.transpose(-3, -2)


@contextmanager
def record_attention(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect the weights ``[B, H, Q, S]`` of each attention, by dotted name, at every forward inside the block.

    The weights are detached and from before dropout; each query's add up to 1. A later forward replaces an earlier one.
    """
    weights: dict[str, Tensor] = {}

    def add_hooks(name: str, attention: MultiHeadAttention) -> Iterator[RemovableHandle]:
        pieces: list[Tensor] = []

        def join(*_: object) -> None:
            weights[name] = torch.cat(pieces)
            pieces.clear()

        # The weights are the only input of the dropout; each call has those of some samples.
        yield attention.dropout.register_forward_pre_hook(lambda _, inputs: pieces.append(inputs[0].detach()))
        yield attention.register_forward_hook(join)

    attentions = [(name, each) for name, each in module.named_modules() if isinstance(each, MultiHeadAttention)]
    handles = [handle for name, each in attentions for handle in add_hooks(name, each)]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


class EncoderBlock(nn.Module):
    """SMILE's encoder block ``Enc(q, k, v)`` with ``k`` and ``v`` the same sequence, post-norm.

    The embedding ``Dropout(LayerNorm(2 x + PE))`` is applied to both sides with shared weights. The factor 2 is from
    the published code, whose position module returns ``x + PE`` and whose caller adds ``x`` again.

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
            A sequence at the positions of ``query``; rows outside its mask are undefined.
        """
        keys = self._embed(source)
        queries = keys if source is query else self._embed(query)
        # Queries, keys and values draw their dropout separately, as published.
        q = self.dropout(queries)
        attended = self.attention(q, self.dropout(keys), self.dropout(keys), source.mask)
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
