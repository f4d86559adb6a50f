"""One modality after another."""

from __future__ import annotations

from collections.abc import Mapping

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.nn.sequence import concatenate

__all__ = ["ConcatFusion"]


class ConcatFusion(Fusion):
    """The refined modalities one after another, without interaction.

    Args:
        layout: The model's layout, not used.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        return concatenate([each.enhanced for each in features.values()])
