"""Label-modality matching: label queries attend to the sequence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.nn.attention import LAYER_NORM_EPS, MultiHeadAttention, record_attention
from neurozoo.nn.dropout import Dropout, Probability

__all__ = ["LabelAttention", "LabelDecoderHead", "record_label_attention"]


class LayerOfADecoder(nn.Module):
    """Self-attention over the labels, cross-attention to the sequence, feed-forward with exact GELU, post-norm."""

    def build(self, hidden: int, heads: int, inner: int, dropout: float) -> None:
        """Create the modules; sizes as for :class:`LabelDecoderHead`."""
        self.self_attention = MultiHeadAttention(hidden, heads, dropout)
        self.self_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.cross_attention = MultiHeadAttention(hidden, heads, dropout)
        self.cross_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.inner = nn.Linear(hidden, inner)
        self.outer = nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)

    def decode_once(self, x: Tensor, sequence: Tokens) -> Tensor:
        """Return the labels' vectors after this layer, ``[B, K, D]``, of those before it."""
        x = self.self_norm(self.dropout(self.self_attention(x, x, x, None)) + x)
        attended = self.cross_attention(x, sequence.x, sequence.x, sequence.mask)
        x = self.cross_norm(self.dropout(attended) + x)
        decoded: Tensor = self.output_norm(self.dropout(self.outer(F.gelu(self.inner(x)))) + x)
        return decoded


class DecoderLayer(LayerOfADecoder):
    """A layer after the first."""

    def __init__(self, hidden: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.build(hidden, heads, inner, dropout)


class LabelDecoderHead(LayerOfADecoder, LabelHead):
    """Label-modality matching: one learned query a label, decoder layers, one shared linear.

    It is the head of SMILE (section "label-modality matching") and of TAILOR (Zhang et al., 2022).

    Args:
        layout: The model's layout.
        dropout: Probability, throughout the decoder.
        inner: Width of the feed-forward.
        classifier_dropout: Probability, at the last linear.
        dropout_at: Where that last dropout falls: on the ``features`` before the linear, or, as
            published, on the ``logits`` after it.
        layers: Decoder layers.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        dropout: Probability = 0.3,
        inner: Annotated[int, Field(ge=1, le=65_536)] = 256,
        classifier_dropout: Probability = 0.1,
        dropout_at: Literal["features", "logits"] = "features",
        layers: Annotated[int, Field(ge=1, le=64)] = 1,
    ) -> None:
        super().__init__()
        hidden, sizes = layout.hidden, (layout.hidden, layout.heads, inner, dropout)
        self.labels = nn.Parameter(torch.randn(layout.outputs, hidden))
        self.label_norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.build(*sizes)
        self.classifier = nn.Linear(hidden, 1)
        self.classifier_dropout = Dropout(classifier_dropout)
        self.on_logits = dropout_at == "logits"
        self.more = nn.ModuleList([DecoderLayer(*sizes) for _ in range(1, layers)])

    def forward(self, sequence: Tokens, target: Tensor | None = None) -> Tensor:
        x = self.decode(sequence)
        if self.on_logits:
            logits: Tensor = self.classifier_dropout(self.classifier(x).squeeze(-1))
        else:
            logits = self.classifier(self.classifier_dropout(x)).squeeze(-1)
        return logits

    def decode(self, sequence: Tokens) -> Tensor:
        """One vector a label, ``[B, K, D]``."""
        x: Tensor = self.dropout(self.label_norm(self.labels)).expand(sequence.x.shape[0], -1, -1)
        for layer in self.layers():
            x = layer.decode_once(x, sequence)
        return x  # [B, K, D]

    def layers(self) -> Iterator[LayerOfADecoder]:
        """Return the decoder layers; the first is the head itself, which holds its modules."""
        yield self
        yield from (layer for layer in self.more if isinstance(layer, DecoderLayer))


@dataclass(frozen=True)
class LabelAttention:
    """Attention of the labels of a batch.

    Attributes:
        weights: ``[B, K, L]``, the mean over heads; each label's add up to 1.
        valid: ``[B, L]`` bool, the rows that can be attended to.
        segments: Modality and length of the rows, see :class:`~neurozoo.core.multimodal.Tokens`.
    """

    weights: Tensor
    valid: Tensor
    segments: tuple[tuple[str, int], ...]

    def by_modality(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the weights ``[B, K]`` on each modality's rows, and its share ``[B]`` of the valid rows.

        Both add up to 1 over the modalities if a sample has a valid row; uniform attention gives the shares. Empty
        if the segments are not those of the sequence.
        """
        lengths = [length for _, length in self.segments]
        if sum(lengths) != self.valid.shape[1]:
            return {}, {}
        weights: dict[str, Tensor] = {}
        shares: dict[str, Tensor] = {}
        total = self.valid.sum(1).clamp(min=1)
        pieces = zip(
            self.segments, torch.split(self.weights, lengths, 2), torch.split(self.valid, lengths, 1), strict=True
        )
        for (name, _), some, valid in pieces:
            weights[name] = some.sum(2) + weights.get(name, 0)
            shares[name] = valid.sum(1) / total + shares.get(name, 0)
        return weights, shares


@contextmanager
def record_label_attention(model: nn.Module) -> Iterator[list[LabelAttention]]:
    """Record the attention of every :class:`LabelDecoderHead`, of its last layer, at each forward inside the block."""
    seen: list[LabelAttention] = []

    def keep(weights: dict[str, Tensor], _head: nn.Module, inputs: tuple[Any, ...], _logits: Tensor) -> None:
        sequence: Tokens = inputs[0]  # a target may follow
        (found,) = weights.values()
        seen.append(LabelAttention(found.mean(1), sequence.valid, sequence.segments))

    with ExitStack() as recordings:
        for head in [module for module in model.modules() if isinstance(module, LabelDecoderHead)]:
            *_, last = head.layers()
            weights = recordings.enter_context(record_attention(last.cross_attention))
            recordings.callback(head.register_forward_hook(partial(keep, weights)).remove)
        yield seen
