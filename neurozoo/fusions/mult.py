"""Cross-modal transformers: each modality asks each other one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.fusions.whole import one_row
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.packed_attention import PackedAttention
from neurozoo.nn.sequence import pooled, zero_padding

__all__ = ["CrossModal", "CrossNet", "MulTFusion", "Padding"]

Layers = Annotated[int, Field(ge=1, le=64)]
Padding = Literal["masked", "visible"]
LEAST_MEMORY = 3
"""Layers of the memory nets, unless there are more in the others, as published."""


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward; queries and keys share the first norm."""

    def __init__(self, width: int, heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = PackedAttention(width, heads, attention_dropout)
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.dropout = Dropout(dropout)
        for linear in (self.inner, self.outer):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, source: Tensor | None, allowed: Tensor | None) -> Tensor:
        queries = self.attention_norm(x)
        keys = queries if source is None else self.attention_norm(source)
        x = x + self.dropout(self.attention(queries, keys, allowed))
        fed = self.outer(self.dropout(torch.relu(self.inner(self.norm(x)))))
        return x + cast(Tensor, self.dropout(fed))


class CrossNet(nn.Module):
    """``Net(q, s)`` of MulT: layers in which a sequence attends to a source that stays as it is, or to itself.

    Args:
        width: Features of both.
        heads: Attention heads; divides ``width``.
        layers: Number of layers.
        dropout: Probability, on inputs, sublayers and inside the feed-forward.
        attention_dropout: Probability, on the attention weights.
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(width, heads, dropout, attention_dropout) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tokens, source: Tokens | None, allowed: Tensor | None) -> Tensor:
        """Return ``[B, Q, width]``; ``allowed`` is as for :class:`~neurozoo.nn.packed_attention.PackedAttention`."""
        x, keys = self._embed(query), None if source is None else self._embed(source)
        for layer in self.layers:
            x = layer(x, keys, allowed)
        return cast(Tensor, self.norm(x))

    def _embed(self, sequence: Tokens) -> Tensor:
        x = sequence.x
        code = _position_code(sequence.position, x.shape[2], x.dtype)
        return cast(Tensor, self.dropout(math.sqrt(x.shape[2]) * x + code))


class CrossModal(nn.Module):
    """The nets between modalities, and behind them those of each modality; see :class:`MulTFusion`.

    Args:
        names: Of the modalities, in order.
        width: Features.
        heads: Attention heads; divides ``width``.
        layers: Layers of each net between two modalities.
        memory_layers: Layers of the nets behind them; None for ``layers``, but at least 3.
        dropout: Probability.
        attention_dropout: Probability on the attention weights, by the modality that is attended to.
        causal: Whether a row sees no later ones.
        padding: See :class:`MulTFusion`.
    """

    def __init__(
        self,
        names: Sequence[str],
        width: int,
        heads: int,
        layers: int,
        memory_layers: int | None,
        dropout: float,
        attention_dropout: Mapping[str, float],
        causal: bool,
        padding: Padding,
    ) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(
            {
                name: nn.ModuleDict(
                    {
                        other: CrossNet(width, heads, layers, dropout, attention_dropout[other])
                        for other in names
                        if other != name
                    }
                )
                for name in names
            }
        )
        wide = width * max(len(names) - 1, 1)
        memory = max(layers, LEAST_MEMORY) if memory_layers is None else memory_layers
        self.memory = nn.ModuleDict({name: CrossNet(wide, heads, memory, dropout, dropout) for name in names})
        self.wide, self.causal, self.masked = wide, causal, padding == "masked"

    def crossed(self, given: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Return each modality ``[B, L, max(M - 1, 1) width]`` after it attended to the others and to itself."""
        sequences = {name: self._seen(each.x, each) for name, each in given.items()}
        return {name: self._crossed(name, sequences) for name in sequences}

    def _crossed(self, name: str, sequences: Mapping[str, Tokens]) -> Tokens:
        query, nets = sequences[name], cast(nn.ModuleDict, self.nets[name])
        asked = [net(query, sequences[other], self._allowed(query, sequences[other])) for other, net in nets.items()]
        joined = self._seen(torch.cat(asked, 2), query) if asked else query
        return joined.with_x(self.memory[name](joined, None, self._allowed(joined, joined)))

    def _seen(self, x: Tensor, like: Tokens) -> Tokens:
        """Return rows as a net sees them, at the positions of a sequence."""
        if self.masked:
            return Tokens(zero_padding(x, like.mask), like.mask, like.position)
        place = torch.arange(x.shape[1], device=x.device)
        # -1 has the code 0, see _position_code.
        return Tokens(x, None, torch.where(x[..., 0] == 0, -1, place))

    def _allowed(self, query: Tokens, source: Tokens) -> Tensor | None:
        """Return which keys a query may see, ``[B or 1, Q or 1, S]``; None for all."""
        seen = None if source.mask is None else source.mask[:, None]
        if not self.causal:
            return seen
        queries, keys = query.x.shape[1], source.x.shape[1]
        if not self.masked:
            row = torch.arange(queries, device=query.x.device)[:, None]
            key = torch.arange(keys, device=query.x.device)
            return (key <= row + abs(keys - queries))[None]
        several = query.valid.sum(1)[:, None, None].clamp(min=1), source.valid.sum(1)[:, None, None].clamp(min=1)
        begun = source.position[:, None] * several[0] < (query.position[:, :, None] + 1) * several[1]
        return begun if seen is None else begun & seen


class MulTFusion(CrossModal, Fusion):
    """Multimodal transformer (Tsai et al., Multimodal Transformer for Unaligned Multimodal Language Sequences, 2019).

    Each modality m attends to each other one, and its results, side by side, to themselves:
    ``c_m = Net_mem([Net(m, a); Net(m, b); ...])``. The last valid rows of all c_m make z, and
    ``o = z + W2 relu(W1 z)`` is projected to D. With one modality c_m is ``Net_mem(m)``.

    ``padding: masked`` hides padding, counts positions from the first valid row and takes the last valid row. A causal
    query then sees the keys that begin before its own end, at relative times. ``visible`` is the published code: no
    mask at all, the last row, positions by place, the code 0 where a row's first feature is exactly 0, and causal by
    places, with an offset of the difference of the lengths, which lets a query see later rows.

    Args:
        layout: The model's layout.
        layers: Layers of each net between two modalities. Published: 5.
        memory_layers: Layers of the nets behind them; None for ``layers``, but at least 3.
        causal: Whether a row sees no later ones.
        padding: ``masked`` or ``visible``.
        output: ``projected`` to D, or ``wide`` as published, the width of o.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        layers: Layers = 2,
        memory_layers: Layers | None = None,
        causal: bool = True,
        padding: Padding = "masked",
        output: Literal["projected", "wide"] = "projected",
    ) -> None:
        names = (*layout.context, *layout.primary)
        width, heads, dropout = layout.hidden, layout.heads, layout.dropout
        # Attention weights are dropped by the source: those on the context, as the published code has it for text.
        rates = {name: dropout if name in layout.context else 0.0 for name in names}
        super().__init__(names, width, heads, layers, memory_layers, dropout, rates, causal, padding)
        whole = len(names) * self.wide
        self.first, self.second, self.dropout = nn.Linear(whole, whole), nn.Linear(whole, whole), Dropout(dropout)
        self.out = nn.Linear(whole, width) if output == "projected" else nn.Identity()
        self.width = width if output == "projected" else whole

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        given = {name: each.enhanced for name, each in features.items()}
        present = torch.stack([each.valid.any(1) for each in given.values()], 1)
        crossed = self.crossed(given).values()
        last = torch.cat([each.x[:, -1] if each.mask is None else pooled(each, "last") for each in crossed], 1)
        rows = last + self.second(self.dropout(torch.relu(self.first(last))))
        return one_row(self.out(rows), present)


def _position_code(position: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return sines, then cosines, then a 0 if the width is odd, ``[..., width]``; 0 for the position -1."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=position.device) * (-math.log(10_000) / max(half - 1, 1)))
    angle = (position[..., None] + 1) * rates
    code = torch.cat([angle.sin(), angle.cos(), angle.new_zeros((*position.shape, width % 2))], -1)
    return (code * (position >= 0)[..., None]).to(dtype)
