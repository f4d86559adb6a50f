"""Sum, mean and a linear of the modalities' vectors: the plain fusions that others are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.fusions.whole import Pooling, one_row, whole

__all__ = ["ConcatVectorsFusion", "MeanFusion", "SumFusion"]


class SumFusion(Fusion):
    """``sum_m h_m`` of one vector a modality; an absent one adds 0.

    Args:
        layout: Not used.
        pooling: How a sequence becomes a vector: the ``mean`` over valid rows, or the ``last`` valid one.
    """

    def __init__(self, layout: Layout, *, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.pooling: Pooling = pooling

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        return one_row(torch.stack(vectors).sum(0), present)


class MeanFusion(SumFusion):
    """The mean of one vector a modality, over the modalities that a sample has.

    Args:
        layout: Not used.
        pooling: As for ``sum``.
    """

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        return one_row(torch.stack(vectors).sum(0) / present.sum(1, keepdim=True).clamp(min=1), present)


class ConcatVectorsFusion(Fusion):
    """A linear of the modalities' vectors in one; an absent modality is zeros.

    Args:
        layout: The model's layout.
        pooling: As for ``sum``.
    """

    def __init__(self, layout: Layout, *, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.pooling: Pooling = pooling
        self.out = nn.Linear(layout.hidden * len((*layout.context, *layout.primary)), layout.hidden)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        return one_row(self.out(torch.cat(vectors, 1)), present)
