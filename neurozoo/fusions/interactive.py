"""Modality-interactive exploration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.nn.attention import EncoderBlock, encode_each
from neurozoo.nn.sequence import concatenate

__all__ = ["InteractiveFusion"]


class InteractiveFusion(Fusion):
    """Modality-interactive exploration (SMILE, section "modality-interactive exploration").

    Each spiking modality attends to the others, ``X_s = Enc(E_s, [E of the others])``; with a
    context c, it and each X_s attend to one another. The sequence is
    ``[Enc(p_c, X_s) for s; Enc(X_s, p_c) for s; h_c; h_s for s]``, without a context
    ``[X_s for s; h_s for s]``. For audio, vision and text this is the published model.

    Args:
        layout: The model's layout.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.context: str | None = next(iter(layout.context), None)
        self.encode = layout.encode or encode_each

        def blocks(attention_dropout: float) -> nn.ModuleDict:
            sizes = layout.hidden, layout.heads, layout.dropout, attention_dropout
            return nn.ModuleDict({name: EncoderBlock(*sizes) for name in layout.primary})

        self.mutual = blocks(0.0)
        # The published code drops attention weights only where text asks or is asked.
        self.context_asks = blocks(layout.dropout) if layout.context else None
        self.asks_context = blocks(layout.dropout) if layout.context else None

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        spiking = {name: each for name, each in features.items() if each.primary}
        names, enhanced = list(spiking), [each.enhanced for each in spiking.values()]
        others = [
            concatenate([other.enhanced for key, other in spiking.items() if key != name] or [spiking[name].enhanced])
            for name in names
        ]
        mixed = self.encode([cast(EncoderBlock, self.mutual[name]) for name in names], enhanced, others)
        own = [each.encoded for each in spiking.values()]
        if self.context_asks is None or self.asks_context is None or self.context is None:
            return concatenate([*mixed, *own])
        context = features[self.context]
        asked = [context.projected] * len(names)
        blocks = [cast(EncoderBlock, each[name]) for each in (self.context_asks, self.asks_context) for name in names]
        both_ways = self.encode(blocks, [*asked, *mixed], [*mixed, *asked])
        return concatenate([*both_ways, context.encoded, *own])
