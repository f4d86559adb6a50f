"""Attention bottlenecks: modalities exchange what fits into a few tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.errors import DataError
from neurozoo.nn.attention import MultiHeadAttention
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import concatenate, sinusoidal_code, zero_padding

__all__ = ["MBTFusion"]

EPS = 1e-6
"""Epsilon of every layer norm, dimensionless, as published."""
Layers = Annotated[int, Field(ge=1, le=64)]


class _Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, hidden: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden, eps=EPS)
        self.attention = MultiHeadAttention(hidden, heads, 0.0)
        self.norm = nn.LayerNorm(hidden, eps=EPS)
        self.inner = nn.Linear(hidden, inner)
        self.outer = nn.Linear(inner, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y, y, mask))
        fed = self.dropout(F.gelu(self.inner(self.norm(x)), approximate="tanh"))
        return x + cast(Tensor, self.dropout(self.outer(fed)))


class MBTFusion(Fusion):
    """Multimodal bottleneck transformer (Nagrani et al., Attention Bottlenecks for Multimodal Fusion, 2021).

    Each modality has its own blocks. Below ``fusion_layer`` it runs alone; from there on it runs on its rows and n
    bottleneck tokens z, which are the same for all, and the mean of what the modalities make of z is the next z. The
    result is all rows of all modalities, one after another.

    An absent modality takes no part in the mean. Positions count from the first valid row.

    Args:
        layout: The model's layout.
        layers: Blocks of each modality. Published: 12.
        fusion_layer: First block with bottlenecks, counted from 0. Published: 8.
        bottlenecks: n.
        inner: Width of the feed-forward; None for 4 D.
        positions: ``sinusoidal``, or ``none``. The published table of learned positions fits one length only.

    Raises:
        DataError: No block is left for the fusion.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        layers: Layers = 2,
        fusion_layer: Annotated[int, Field(ge=0, le=63)] = 1,
        bottlenecks: Annotated[int, Field(ge=1, le=1024)] = 4,
        inner: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        positions: Literal["sinusoidal", "none"] = "sinusoidal",
    ) -> None:
        super().__init__()
        for _, wrong in self.check_params(layers=layers, fusion_layer=fusion_layer):
            raise DataError(f"mbt: {wrong}")
        hidden, names = layout.hidden, (*layout.context, *layout.primary)
        sizes = hidden, layout.heads, inner or 4 * hidden, layout.dropout
        self.blocks = nn.ModuleDict({name: nn.ModuleList([_Block(*sizes) for _ in range(layers)]) for name in names})
        self.bottleneck = nn.Parameter(0.02 * torch.randn(1, bottlenecks, hidden))
        self.norm = nn.LayerNorm(hidden, eps=EPS)
        self.layers, self.fusion_layer, self.coded = layers, fusion_layer, positions == "sinusoidal"

    @staticmethod
    def check_params(*, layers: int, fusion_layer: int, **others: Any) -> Iterator[tuple[str, str]]:
        if fusion_layer >= layers:
            yield "fusion_layer", f"{fusion_layer} leaves none of {layers} layers for the fusion; give less"

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        sequences = {name: self._with_positions(each.enhanced) for name, each in features.items()}
        rows = {name: each.x for name, each in sequences.items()}
        batch, count = next(iter(rows.values())).shape[0], self.bottleneck.shape[1]
        z = self.bottleneck.expand(batch, -1, -1)
        there = {name: each.valid.any(1)[:, None, None] for name, each in sequences.items()}
        present = torch.stack(list(there.values())).sum(0).clamp(min=1)
        for layer in range(self.layers):
            blocks = {name: cast(nn.ModuleList, self.blocks[name])[layer] for name in rows}
            if layer < self.fusion_layer:
                rows = {name: blocks[name](x, sequences[name].mask) for name, x in rows.items()}
                continue
            joined = {}
            for name, x in rows.items():
                mask = sequences[name].mask
                seen = None if mask is None else F.pad(mask, (0, count), value=True)
                joined[name] = blocks[name](torch.cat([x, z], 1), seen)
            rows = {name: x[:, :-count] for name, x in joined.items()}
            z = torch.stack([x[:, -count:] * there[name] for name, x in joined.items()]).sum(0) / present
        return concatenate([sequences[name].with_x(self.norm(x)) for name, x in rows.items()])

    def _with_positions(self, sequence: Tokens) -> Tokens:
        x = zero_padding(sequence.x, sequence.mask)
        if self.coded:
            x = x + sinusoidal_code(sequence.position, x.shape[1], x.shape[2], x.dtype)
        return sequence.with_x(x)
