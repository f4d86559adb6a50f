"""Cross-attention to one modality after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.nn.attention import MultiHeadAttention
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import concatenate, zero_padding

__all__ = ["MultiAttention", "MultiAttnFusion"]


class _ByHead(nn.Module):
    """A linear whose rows belong to heads that are stored one by one, as the authors store them."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(hidden, hidden // heads) for _ in range(heads)])

    def forward(self, x: Tensor) -> Tensor:
        linears = cast(Sequence[nn.Linear], self.heads)
        return F.linear(x, torch.cat([each.weight for each in linears]), torch.cat([each.bias for each in linears]))


class _Attention(MultiHeadAttention):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__(hidden, heads, 0.0)
        self.query, self.key, self.value = (cast(nn.Linear, _ByHead(hidden, heads)) for _ in range(3))


class _Layer(nn.Module):
    """Post-norm attention to each source in order, then a feed-forward."""

    def __init__(self, hidden: int, heads: int, sources: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([_Attention(hidden, heads) for _ in range(sources)])
        self.attention_norms = nn.ModuleList([nn.LayerNorm(hidden) for _ in range(sources)])
        self.inner = nn.Linear(hidden, inner)
        self.outer = nn.Linear(inner, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, sources: Sequence[Tokens]) -> Tensor:
        for attention, norm, source in zip(self.attentions, self.attention_norms, sources, strict=True):
            x = norm(x + self.dropout(attention(x, source.x, source.x, source.mask)))
        fed = self.dropout(self.outer(torch.relu(self.inner(x))))
        return cast(Tensor, self.norm(x + self.dropout(fed)))


class MultiAttention(nn.Module):
    """Layers in which each modality attends to each other one, in order; the sources stay as they were given.

    Args:
        names: Of the modalities, in order.
        hidden: Features D.
        heads: Attention heads; divides ``hidden``.
        layers: Number of layers.
        inner: Width of the feed-forward.
        dropout: Probability, after each attention and twice after the feed-forward, as published.
    """

    def __init__(self, names: Sequence[str], hidden: int, heads: int, layers: int, inner: int, dropout: float) -> None:
        super().__init__()
        sizes = hidden, heads, len(names) - 1, inner, dropout
        self.nets = nn.ModuleDict({name: nn.ModuleList([_Layer(*sizes) for _ in range(layers)]) for name in names})

    def forward(self, sequences: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Return each modality ``[B, L, D]`` after its layers; rows outside its mask are undefined."""
        given = {name: each.with_x(zero_padding(each.x, each.mask)) for name, each in sequences.items()}
        found = {}
        for name, query in given.items():
            sources, x = [each for other, each in given.items() if other != name], query.x
            for layer in cast(nn.ModuleList, self.nets[name]):
                x = layer(x, sources)
            found[name] = query.with_x(x)
        return found


class MultiAttnFusion(Fusion):
    """Cross-attention to one modality after another (Shi and Huang, MultiEMO, ACL 2023; as SpikEmo uses it).

    In each layer a modality q attends to each other one in order, ``q = LN(q + MHA(q, s))``, and then
    ``q = LN(q + W2 relu(W1 q))``. The result is all rows of all modalities, one after another. With one modality the
    feed-forward alone is left.

    Args:
        layout: The model's layout.
        layers: Layers of each modality.
        inner: Width of the feed-forward; None for 4 D.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        layers: Annotated[int, Field(ge=1, le=64)] = 2,
        inner: Annotated[int, Field(ge=1, le=65_536)] | None = None,
    ) -> None:
        super().__init__()
        names = (*layout.context, *layout.primary)
        self.attend = MultiAttention(
            names, layout.hidden, layout.heads, layers, inner or 4 * layout.hidden, layout.dropout
        )

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        return concatenate(list(self.attend({name: each.enhanced for name, each in features.items()}).values()))
