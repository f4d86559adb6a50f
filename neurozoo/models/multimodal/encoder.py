"""The encoder of a modality that TAILOR, CARAT and LDDU share: a small BERT on features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Tokens
from neurozoo.core.signals import SignalShape
from neurozoo.errors import DataError
from neurozoo.nn.attention import LAYER_NORM_EPS, MultiHeadAttention
from neurozoo.nn.dropout import Dropout

__all__ = ["INITIAL_DEVIATION", "FeatureEncoder", "Layers", "PostNormLayers", "draw_like_bert", "feature_encoders"]

Layers = Annotated[int, Field(ge=1, le=64)]
INITIAL_DEVIATION = 0.02
"""Of the weights of linears and tables at the start, dimensionless, as published."""


class PostNormLayers(nn.Module):
    """Layers of BERT (Devlin et al. 2019): attention and feed-forward, each normed after its residual sum.

    ``x = LN(dropout(MHA(x)) + x)``, ``x = LN(dropout(Lin(gelu(Lin(x)))) + x)``, with exact gelu.

    Args:
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        layers: Number of layers.
        dropout: Probability, on the outputs of both and on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, inner: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.ModuleList([MultiHeadAttention(hidden, heads, dropout) for _ in range(layers)])
        self.attention_norm = nn.ModuleList([nn.LayerNorm(hidden, eps=LAYER_NORM_EPS) for _ in range(layers)])
        self.inner = nn.ModuleList([nn.Linear(hidden, inner) for _ in range(layers)])
        self.outer = nn.ModuleList([nn.Linear(inner, hidden) for _ in range(layers)])
        self.output_norm = nn.ModuleList([nn.LayerNorm(hidden, eps=LAYER_NORM_EPS) for _ in range(layers)])
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return ``[B, L, D]`` of ``x`` ``[B, L, D]``; rows outside ``mask`` ``[B, L]`` are seen by no other."""
        layers = zip(self.attention, self.attention_norm, self.inner, self.outer, self.output_norm, strict=True)
        for attention, attention_norm, inner, outer, output_norm in layers:
            x = attention_norm(self.dropout(attention(x, x, x, mask)) + x)
            x = output_norm(self.dropout(outer(F.gelu(inner(x)))) + x)
        return x


class FeatureEncoder(nn.Module):
    """``LN`` of each row of features, ``LN(Lin(x) + position)``, dropout, and layers of BERT.

    Args:
        dim: Features of a row.
        length: Rows of the table of positions. Rows beyond it have its last position.
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        layers: Number of layers.
        dropout: Probability.
    """

    def __init__(self, dim: int, length: int, hidden: int, heads: int, inner: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.embed = nn.Linear(dim, hidden)
        self.positions = nn.Embedding(length, hidden)
        self.norm = nn.LayerNorm(hidden, eps=LAYER_NORM_EPS)
        self.layers = PostNormLayers(hidden, heads, inner, layers, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, sequence: Tokens) -> Tokens:
        """Return the encoded rows ``[B, L, D]``; those outside the mask are seen by no other."""
        position = self.positions(sequence.position.clamp(max=self.positions.num_embeddings - 1))
        x = self.dropout(self.norm(self.embed(self.input_norm(sequence.x)) + position))
        return sequence.with_x(cast(Tensor, self.layers(x, sequence.mask)))


def feature_encoders(
    signals: Mapping[str, SignalShape],
    hidden: int,
    heads: int,
    inner: int,
    layers: Layers | Mapping[str, Layers],
    dropout: float,
) -> nn.ModuleDict:
    """Return an encoder for each modality by name, with a table of positions of its signal's length.

    Args:
        signals: Shapes of the modalities by name.
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        inner: Width of the feed-forward.
        layers: One number for all, or one for each by name; those of other modalities are not used.
        dropout: Probability.

    Raises:
        DataError: ``layers`` has no number for a modality.
    """
    if isinstance(layers, int):
        layers = dict.fromkeys(signals, layers)
    if missing := [name for name in signals if name not in layers]:
        raise DataError(
            f"model.params.layers: nothing for {', '.join(missing)}, only for {', '.join(layers) or 'none'}; give a "
            "number for each modality, or one for all"
        )
    made = {
        name: FeatureEncoder(shape.dim, shape.length, hidden, heads, inner, layers[name], dropout)
        for name, shape in signals.items()
    }
    return nn.ModuleDict(made)


@torch.no_grad()
def draw_like_bert(module: nn.Module) -> None:
    """Draw the weights of a linear or a table from N(0, 0.02), its bias 0; for :meth:`torch.nn.Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
