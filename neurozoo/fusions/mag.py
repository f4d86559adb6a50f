"""Multimodal adaptation gate: other modalities shift the rows of a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import at_relative_times, pooled, tokens, zero_padding

__all__ = ["AdaptationGate", "MAGFusion"]


class AdaptationGate(nn.Module):
    """The gate of Rahman et al. (2020) on sequences of equal length.

    Args:
        base: Features D of the base.
        widths: Features of each other modality.
        beta: Largest length of a shift as a share of the row's, dimensionless.
        dropout: Probability, on the result.
    """

    def __init__(self, base: int, widths: Sequence[int], beta: float, dropout: float) -> None:
        super().__init__()
        self.gates = nn.ModuleList([nn.Linear(width + base, base) for width in widths])
        self.shifts = nn.ModuleList([nn.Linear(width, base) for width in widths])
        self.norm = nn.LayerNorm(base)
        self.dropout = Dropout(dropout)
        self.beta = beta
        for linear in (*self.gates, *self.shifts):
            nn.init.normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x: Tensor, others: Sequence[Tensor], present: Tensor | None = None, alone: Tensor | None = None
    ) -> Tensor:
        """Return the shifted base ``[B, L, D]``.

        Args:
            x: The base ``[B, L, D]``.
            others: ``[B, L, width]`` of each.
            present: ``[B, len(others)]`` bool; None if all are there.
            alone: ``[B]`` bool, samples without a base, which the others shift in full; None for none.
        """
        if not others:
            return self._finish(x)
        shift = torch.zeros_like(x)
        for m, (gate, linear, other) in enumerate(zip(self.gates, self.shifts, others, strict=True)):
            own = torch.relu(gate(torch.cat([other, x], -1))) * linear(other)
            shift = shift + (own if present is None else own * present[:, m, None, None])
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        by = torch.linalg.vector_norm(shift, dim=-1, keepdim=True)
        by = torch.where(by == 0, torch.ones_like(by), by)
        share = (length / (by + 1e-6) * self.beta).clamp(max=1)
        if alone is not None:
            share = torch.where(alone[:, None, None], torch.ones_like(share), share)
        return self._finish(share * shift + x)

    def _finish(self, x: Tensor) -> Tensor:
        finished: Tensor = self.dropout(self.norm(x))
        return finished


class MAGFusion(Fusion):
    """Multimodal adaptation gate (Rahman et al., Integrating Multimodal Information in Large Pretrained Transformers).

    For each row x of the base and the rows m of the others at the same relative time,
    ``h = sum_m relu(Lin([m; x])) Lin(m)``, ``alpha = min(beta |x| / (|h| + 1e-6), 1)`` and
    ``dropout(LN(x + alpha h))``. The base is the context, or else the first modality; the result has its rows. An
    absent other adds 0. A sample without the base has one row, x = 0, at which the others give their means.

    Args:
        layout: The model's layout.
        beta: Largest length of a shift as a share of the row's, dimensionless.
        dropout: Probability, on the result.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        beta: Annotated[float, Field(gt=0, le=1e6)] = 1.0,
        dropout: Probability = 0.5,
    ) -> None:
        super().__init__()
        others = len((*layout.context, *layout.primary)) - 1
        self.gate = AdaptationGate(layout.hidden, [layout.hidden] * others, beta, dropout)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        base, *others = (each.enhanced for each in features.values())
        x, length = zero_padding(base.x, base.mask), base.x.shape[1]
        if not others:
            return base.with_x(self.gate(x, []))
        present = torch.stack([each.valid.any(1) for each in others], 1)
        alone = ~base.valid.any(1)  # without a row of the base
        aligned = []
        for each in others:
            rows = at_relative_times(zero_padding(each.x, each.mask), each.mask, base.mask, length)
            aligned.append(torch.where(alone[:, None, None], pooled(each)[:, None], rows))
        shifted = base.with_x(self.gate(x, aligned, present, alone))
        if base.mask is None:
            return shifted
        first = torch.zeros_like(base.mask)
        first[:, 0] = alone & present.any(1)
        return tokens(shifted.x, base.mask | first)
