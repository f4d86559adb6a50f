"""LSAN: label-specific attention."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.errors import DataError
from neurozoo.heads.label_attention import attention_of_labels
from neurozoo.heads.label_vectors import LabelVectors, VectorSize
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import left_aligned, zero_padding

__all__ = ["BothDirections", "LSANHead"]


class BothDirections(nn.Module):
    """A bidirectional LSTM over the valid rows, from states 0.

    Args:
        width: Features of a row.
        hidden: Units h of a direction.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.ahead = nn.LSTM(width, hidden, batch_first=True)
        self.back = nn.LSTM(width, hidden, batch_first=True)

    def train(self, mode: bool = True) -> BothDirections:
        super().train(mode)
        # cuDNN has a backward pass in training mode alone. Without dropout both modes compute the same.
        self.ahead.train()
        self.back.train()
        return self

    def forward(self, sequence: Tokens, states: tuple[Tensor, Tensor] | None = None) -> Tokens:
        """Return rows ``[B, L, 2 h]``, the valid ones first: forward half, backward half.

        Args:
            sequence: ``[B, L, D]``.
            states: At the start, h and c, ``[2, B, h]`` each; None for 0.
        """
        rows = left_aligned(sequence.x, sequence.mask)
        length = rows.x.shape[1]
        place = torch.arange(length, device=rows.x.device)
        # Valid rows in reverse order; padding stays behind them, where it reaches none of them.
        ends = rows.valid.sum(1, keepdim=True)
        order = torch.where(place < ends, ends - 1 - place, place)[..., None]  # [B, L, 1]
        of_ahead, of_back = (None, None) if states is None else [[x[n : n + 1] for x in states] for n in (0, 1)]
        ahead, _ = self.ahead(rows.x, of_ahead)
        reverse, _ = self.back(rows.x.gather(1, order.expand_as(rows.x)), of_back)
        return rows.with_x(torch.cat([ahead, reverse.gather(1, order.expand_as(reverse))], 2))


class LSANHead(LabelHead):
    """Label-specific attention (Xiao et al., Label-Specific Document Representation, 2019).

    Of the rows ``H = [F; R]``, the two directions of an LSTM, each label has two vectors: one by attention with its own
    weights, ``M_s = softmax over valid rows of (Lin(tanh(Lin(H)))) H``, and one by its vector c,
    ``M_l = [mean of (c . f) f; mean of (c . r) r]``. A gate mixes them, ``M = w M_l + (1 - w) M_s``,
    ``w = a / (a + b)``, ``a = sigmoid(Lin(M_l))``, ``b = sigmoid(Lin(M_s))``.

    Args:
        layout: The model's layout.
        vectors: Safetensors file with a vector for each label by its name, where learning begins; null for random ones.
        size: Numbers of such a vector, which a linear maps to the h of a direction if they are others; null for h.
        attention: Width of the attention's hidden layer.
        rows: ``lstm`` reads the sequence in both directions, h = D / 2 rounded up; ``halves`` takes the two halves of
            each row as F and R.
        label_vectors: ``learned``; ``fixed``, as published.
        products: The ``mean`` over valid rows in M_l, or the ``sum``, as published.
        scores: ``each`` label its own, ``v_k . M_k + b_k``; ``mean``, as published: a linear of the mean of M over the
            labels.
        dropout: Probability, on the input rows.

    Raises:
        DataError: ``halves`` of an odd width.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        vectors: Path | None = None,
        size: VectorSize | None = None,
        attention: Annotated[int, Field(ge=1, le=65_536)] = 64,
        rows: Literal["lstm", "halves"] = "lstm",
        label_vectors: Literal["learned", "fixed"] = "learned",
        products: Literal["mean", "sum"] = "mean",
        scores: Literal["each", "mean"] = "each",
        dropout: Probability = 0.1,
    ) -> None:
        super().__init__()
        labels, hidden = layout.outputs, (layout.hidden + 1) // 2
        if rows == "halves" and layout.hidden % 2:
            raise DataError(f"lsan: a row of {layout.hidden} features has no two equal halves; set rows to lstm")
        self.lstm = BothDirections(layout.hidden, hidden) if rows == "lstm" else None
        self.first, self.second = nn.Linear(2 * hidden, attention), nn.Linear(attention, labels)
        self.vectors = LabelVectors(layout, size or hidden, vectors, learned=label_vectors == "learned")
        self.to_half = None if size in (None, hidden) else nn.Linear(size or hidden, hidden, bias=False)
        self.gate_labels, self.gate_self = nn.Linear(2 * hidden, 1), nn.Linear(2 * hidden, 1)
        self.classifier = nn.Linear(2 * hidden, labels)
        self.dropout = Dropout(dropout)
        self.summed, self.averaged = products == "sum", scores == "mean"

    def forward(self, sequence: Tokens, target: Any = None) -> Tensor:
        sequence = sequence.with_x(self.dropout(sequence.x))
        mixed = self.mixed(sequence if self.lstm is None else self.lstm(sequence))["mixed"]
        return self.scores(mixed)

    def mixed(self, rows: Tokens) -> dict[str, Tensor]:
        """Return M_l, M_s and M, ``by_label``, ``by_self`` and ``mixed``, ``[B, K, 2 h]`` each.

        Args:
            rows: H ``[B, L, 2 h]``.
        """
        x = zero_padding(rows.x, rows.mask)
        weights = attention_of_labels(self.self_scores(x), rows.mask)
        vectors = self.vectors() if self.to_half is None else self.to_half(self.vectors())
        products = [(half @ vectors.T).transpose(1, 2) @ half for half in x.chunk(2, 2)]  # [B, K, h] each
        by_label, by_self = torch.cat(products, 2), weights @ x
        if not self.summed:
            by_label = by_label / rows.valid.sum(1).clamp(min=1)[:, None, None]
        # The same as a / (a + b), which is 0 / 0 where both are very small.
        gate = torch.sigmoid(F.logsigmoid(self.gate_labels(by_label)) - F.logsigmoid(self.gate_self(by_self)))
        return {"by_label": by_label, "by_self": by_self, "mixed": torch.lerp(by_self, by_label, gate)}

    def self_scores(self, x: Tensor) -> Tensor:
        """Return the scores of the attention with own weights, before the softmax, ``[B, L, K]`` of ``[B, L, 2 h]``."""
        scores: Tensor = self.second(torch.tanh(self.first(x)))
        return scores

    def scores(self, mixed: Tensor) -> Tensor:
        """Return logits ``[B, K]`` of M ``[B, K, 2 h]``."""
        if self.averaged:
            logits: Tensor = self.classifier(mixed.mean(1))
            return logits
        return (mixed * self.classifier.weight).sum(-1) + self.classifier.bias
