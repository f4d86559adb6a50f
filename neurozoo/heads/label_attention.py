"""Label-wise attention: one weighted mean a label."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import zero_padding

__all__ = ["LabelAttentionHead", "attention_of_labels"]


class LabelAttentionHead(LabelHead):
    """Label-wise attention, the head of CARAT (Peng et al., 2024).

    ``a_k = softmax over valid rows of (q_k . x)``, ``m_k = sum of a_k x``, ``logit_k = v_k . m_k``, without scale or
    bias. A sample without a valid row has the logits 0.

    Args:
        layout: The model's layout.
        dropout: Probability, on the vectors m_k.
    """

    def __init__(self, layout: Layout, *, dropout: Probability = 0.1) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(layout.outputs, layout.hidden))
        self.classifiers = nn.Parameter(torch.empty(layout.outputs, layout.hidden))
        nn.init.xavier_uniform_(self.queries)
        nn.init.kaiming_uniform_(self.classifiers, a=5**0.5)
        self.dropout = Dropout(dropout)

    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        logits: Tensor = (self.dropout(self.label_vectors(sequence)) * self.classifiers).sum(-1)
        return logits

    def label_vectors(self, sequence: Tokens) -> Tensor:
        """Return m ``[B, K, D]``."""
        x = zero_padding(sequence.x, sequence.mask)
        return attention_of_labels(x @ self.queries.T, sequence.mask) @ x


def attention_of_labels(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return weights ``[B, K, L]`` of scores ``[B, L, K]``: a softmax over valid rows; 0 where there is none.

    Args:
        scores: Of each row for each label.
        mask: ``[B, L]`` bool; None if every row is valid.
    """
    if mask is None:
        return scores.softmax(1).transpose(1, 2)
    # Not minus infinity: a sample may have no valid row.
    masked = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
    return (masked.softmax(1) * mask[..., None]).transpose(1, 2)
