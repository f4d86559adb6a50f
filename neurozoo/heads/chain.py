"""Classifier chain: each label sees those before it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.heads.targets import as_labels, counted_labels
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import pooled

__all__ = ["ChainHead"]


class ChainHead(LabelHead):
    """Classifier chain (Read et al., Classifier chains for multi-label classification, 2011).

    In the order o of the labels, ``z_i = u_i . x + b_i + sum over j before i of v_ij t_j``, x the pooled sequence. In
    training t_j is the true label. In evaluation it is ``sigmoid(z_j)``, or with ``links: hard`` 1 where z_j > 0.

    Args:
        layout: The model's layout.
        links: What of the labels before a label sees in evaluation: their probabilities, or, as published, decisions.
        order: By how often the labels are in the training split, rarest last; or as the task lists them.
        pooling: Over valid rows.
        dropout: Probability, on the pooled features.
    """

    order: Tensor

    def __init__(
        self,
        layout: Layout,
        *,
        links: Literal["soft", "hard"] = "soft",
        order: Literal["frequency", "listed"] = "frequency",
        pooling: Literal["mean", "max"] = "mean",
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__()
        labels = layout.outputs
        self.features = nn.Linear(layout.hidden, labels)
        # v without its zeros, row by row: a strictly lower triangular matrix in chain order.
        self.links = nn.Parameter(torch.zeros(labels * (labels - 1) // 2)) if labels > 1 else None
        self.hard, self.by_frequency, self.pooling = links == "hard", order == "frequency", pooling
        self.dropout = Dropout(dropout)
        self.register_buffer("order", torch.arange(labels))

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        labels = counted_labels(target, len(self.order), "chain")
        if self.by_frequency:
            self.order.copy_(labels.sum(0).argsort(descending=True, stable=True))

    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        alone: Tensor = self.features(self.dropout(pooled(sequence, self.pooling)))[
            :, self.order
        ]  # [B, K] in chain order
        back = self.order.argsort()
        if self.links is None:
            return alone
        if target is not None:
            before = as_labels(target, len(self.order), alone)[:, self.order]
            return (alone + before @ self.matrix(self.links).T)[:, back]
        logits, before, first = [alone[:, 0]], alone[:, :0], 0
        for label in range(1, alone.shape[1]):
            last = logits[-1][:, None]
            seen = (last > 0).to(last.dtype) if self.hard else torch.sigmoid(last)
            before = torch.cat([before, seen], 1)
            logits.append(alone[:, label] + before @ self.links[first : first + label])
            first += label
        return torch.stack(logits, 1)[:, back]

    def matrix(self, links: Tensor) -> Tensor:
        """Return v ``[K, K]``, in chain order."""
        row, column = torch.tril_indices(len(self.order), len(self.order), -1, device=links.device)
        return links.new_zeros(len(self.order), len(self.order)).index_put((row, column), links)
