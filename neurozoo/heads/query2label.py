"""Query2Label: a decoder of label queries."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.packed_attention import PackedAttention
from neurozoo.nn.sequence import sinusoidal_code, zero_padding

__all__ = ["Query2LabelHead"]

Width = Annotated[int, Field(ge=1, le=65_536)]
Layers = Annotated[int, Field(ge=0, le=64)]


class FeedForward(nn.Module):
    """``LN(x + W2 relu(W1 x))``.

    Args:
        hidden: Features D.
        inner: Features between the two linears.
        dropout: Probability.
    """

    def __init__(self, hidden: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., D]`` of ``[..., D]``."""
        fed = self.outer(self.dropout(torch.relu(self.inner(x))))
        normed: Tensor = self.norm(x + self.dropout(fed))
        return normed


class Layer(nn.Module):
    """``LN(x + attention)`` and a feed-forward; a position code is added to queries and keys, never to values.

    Args:
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        dropout: Probability.
        label_attention: Whether rows attend to one another first.
    """

    def __init__(self, hidden: int, heads: int, inner: int, dropout: float, label_attention: bool = False) -> None:
        super().__init__()
        self.own = PackedAttention(hidden, heads, dropout) if label_attention else None
        self.own_norm = nn.LayerNorm(hidden) if label_attention else None
        self.attention = PackedAttention(hidden, heads, dropout)
        self.norm = nn.LayerNorm(hidden)
        self.feed = FeedForward(hidden, inner, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, code: Tensor, source: Tensor, source_code: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend from ``x`` ``[B, Q, D]`` to ``source`` ``[B, S, D]``.

        Args:
            x: Rows that attend.
            code: Their position code, or queries, ``[B or 1, Q, D]``.
            source: Rows attended to.
            source_code: Their position code.
            allowed: ``[B, 1, S]`` bool; None for all.

        Returns:
            ``[B, Q, D]``.
        """
        if self.own is not None and self.own_norm is not None:
            x = self.own_norm(x + self.dropout(self.own(x + code, x + code, values=x)))
        attended = self.attention(x + code, source + source_code, allowed, values=source)
        fed: Tensor = self.feed(self.norm(x + self.dropout(attended)))
        return fed


class Query2LabelHead(LabelHead):
    """Query2Label (Liu et al., Query2Label: A Simple Transformer Way to Multi-Label Classification, 2021).

    The sequence goes through encoder layers. A decoder starts from 0 with one learned query a label, which is added to
    what asks in each attention; each label has a linear of its own. Labels do not see one another.

    Args:
        layout: The model's layout.
        encoder_layers: Layers over the sequence.
        decoder_layers: Layers from labels to the sequence.
        inner: Width of the feed-forwards; null for 4 D, as published.
        label_attention: Whether labels attend to one another in each decoder layer but the first, where all are 0.
        dropout: Probability, throughout.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        encoder_layers: Layers = 1,
        decoder_layers: Annotated[int, Field(ge=1, le=64)] = 2,
        inner: Width | None = None,
        label_attention: bool = False,
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__()
        labels, hidden, heads = layout.outputs, layout.hidden, layout.heads
        width = inner or 4 * hidden
        self.encoder = nn.ModuleList([Layer(hidden, heads, width, dropout) for _ in range(encoder_layers)])
        self.queries = nn.Parameter(torch.randn(labels, hidden))
        self.decoder = nn.ModuleList(
            [Layer(hidden, heads, width, dropout, label_attention and bool(n)) for n in range(decoder_layers)]
        )
        self.norm = nn.LayerNorm(hidden)
        self.weight = nn.Parameter(torch.empty(labels, hidden).uniform_(-(hidden**-0.5), hidden**-0.5))
        self.bias = nn.Parameter(torch.empty(labels).uniform_(-(hidden**-0.5), hidden**-0.5))

    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        x = zero_padding(sequence.x, sequence.mask)
        code = sinusoidal_code(sequence.position, x.shape[1], x.shape[2], x.dtype)
        return self.logits(self.decoded(*self.encoded(x, code, sequence.mask)))

    def encoded(self, x: Tensor, code: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return rows ``[B, L, D]``, their code and ``allowed``, which :meth:`decoded` takes.

        Args:
            x: ``[B, L, D]``.
            code: Position code ``[B or 1, L, D]``.
            mask: ``[B, L]`` bool, or None.
        """
        allowed = None if mask is None else mask[:, None]
        for layer in self.encoder:
            x = layer(x, code, x, code, allowed)
        return x, code, allowed

    def decoded(self, x: Tensor, code: Tensor, allowed: Tensor | None) -> Tensor:
        """Return one vector a label, ``[B, K, D]``."""
        labels = torch.zeros_like(self.queries).expand(x.shape[0], -1, -1)
        for layer in self.decoder:
            labels = layer(labels, self.queries, x, code, allowed)
        normed: Tensor = self.norm(labels)
        return normed

    def logits(self, labels: Tensor) -> Tensor:
        """Return ``[B, K]`` of one vector a label, ``[B, K, D]``."""
        return (labels * self.weight).sum(-1) + self.bias
