"""Binary relevance: a linear on the mean over valid positions."""

from __future__ import annotations

from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import pooled

__all__ = ["PooledHead"]


class PooledHead(LabelHead):
    """A linear on the mean over valid positions: binary relevance, an independent logistic regression for each label.

    Args:
        layout: The model's layout.
        dropout: Probability, on the pooled features.
    """

    def __init__(self, layout: Layout, *, dropout: Probability = 0.1) -> None:
        super().__init__()
        self.classifier = nn.Linear(layout.hidden, layout.outputs)
        self.dropout = Dropout(dropout)

    def forward(self, sequence: Tokens, target: Tensor | None = None) -> Tensor:
        logits: Tensor = self.classifier(self.dropout(pooled(sequence)))
        return logits
