"""Multi-head attention with packed weights, and a mask for each query and key."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurozoo.nn.dropout import Dropout

__all__ = ["PackedAttention"]


class PackedAttention(nn.Module):
    """Attention whose queries, keys and values come from one weight ``[3 D, D]``, in this order, as in torch.

    Args:
        hidden: Features D.
        heads: Heads H; divides ``hidden``.
        dropout: Probability, on the attention weights.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.out = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        nn.init.xavier_uniform_(self.weight)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, query: Tensor, source: Tensor, allowed: Tensor | None = None, *, values: Tensor | None = None
    ) -> Tensor:
        """Attend from ``query`` ``[B, Q, D]`` to ``source`` ``[B, S, D]``.

        Args:
            query: Rows that attend.
            source: Rows attended to.
            allowed: ``[B or 1, Q or 1, S]`` bool, which keys a query may see; None for all.
            values: ``[B, S, D]``, for the weighted sum, if ``source`` is for the comparison alone; None for ``source``.

        Returns:
            ``[B, Q, D]``; 0 for a query that sees no key.
        """
        given = query, source, source if values is None else values
        weights, biases = self.weight.chunk(3), self.bias.chunk(3)
        q, k, v = (
            F.linear(x, weight, bias).view(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)
            for x, weight, bias in zip(given, weights, biases, strict=True)
        )
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if allowed is not None:
            scores = scores.masked_fill(~allowed[:, None], torch.finfo(scores.dtype).min)
        sums = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2)
        attended: Tensor = self.out(sums)
        return attended if allowed is None else attended * allowed.any(-1, keepdim=True)
