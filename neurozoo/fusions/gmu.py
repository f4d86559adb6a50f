"""Gated multimodal unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.errors import DataError
from neurozoo.fusions.whole import Pooling, one_row, whole

__all__ = ["GMUFusion", "GatedUnit"]

Form = Literal["independent", "bimodal"]


class GatedUnit(nn.Module):
    """The unit of Arevalo et al. (2017) on one vector a modality.

    Args:
        widths: Features of each modality's vector.
        hidden: Features D of the result.
        form: See :class:`GMUFusion`.
    """

    def __init__(self, widths: Sequence[int], hidden: int, form: Form) -> None:
        super().__init__()
        self.inputs = nn.ModuleList([nn.Linear(width, hidden, bias=False) for width in widths])
        bimodal = form == "bimodal"
        gates = [2 * hidden] if bimodal else [sum(widths)] * len(widths)
        self.gates = nn.ModuleList([nn.Linear(width, hidden, bias=False) for width in gates])
        self.bimodal = bimodal

    def forward(self, vectors: Sequence[Tensor], present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fused vectors ``[B, D]`` and the gates ``[B, M, D]``, of ``bimodal`` ``[B, 1, D]``.

        Args:
            vectors: ``[B, width]`` of each modality, 0 where it is absent.
            present: ``[B, M]`` bool.
        """
        u = [linear(x) for linear, x in zip(self.inputs, vectors, strict=True)]
        there = present[..., None]
        if self.bimodal:
            gate = torch.sigmoid(self.gates[0](torch.cat(u, 1)))
            # A modality that is alone has the whole gate.
            gate = torch.where(there[:, 0] & ~there[:, 1], torch.ones_like(gate), gate)
            gate = torch.where(there[:, 1] & ~there[:, 0], torch.zeros_like(gate), gate)
            return gate * torch.tanh(u[0]) + (1 - gate) * torch.tanh(u[1]), gate[:, None]
        together = torch.cat(list(vectors), 1)
        gates = torch.stack([torch.sigmoid(gate(together)) for gate in self.gates], 1) * there
        return (gates * torch.tanh(torch.stack(u, 1))).sum(1), gates


class GMUFusion(Fusion):
    """Gated multimodal unit (Arevalo et al., Gated Multimodal Units for Information Fusion, 2017).

    ``independent`` is the paper's for any number of modalities: ``h = sum_m z_m tanh(W_m x_m)`` with
    ``z_m = sigmoid(Z_m [x_1; ...; x_M])``. ``bimodal`` is its code for two: ``u_m = W_m x_m``,
    ``z = sigmoid(W [u_1; u_2])``, ``h = z tanh(u_1) + (1 - z) tanh(u_2)``. The two differ for two modalities.

    An absent modality has the gate 0; one that is alone in ``bimodal`` has the gate 1.

    Args:
        layout: The model's layout.
        form: ``independent`` or ``bimodal``.
        pooling: How a sequence becomes a vector: the ``mean`` over valid rows, or the ``last`` valid one.

    Raises:
        DataError: ``bimodal`` with another number of modalities than two.
    """

    def __init__(self, layout: Layout, *, form: Form = "independent", pooling: Pooling = "mean") -> None:
        super().__init__()
        modalities = len((*layout.context, *layout.primary))
        if form == "bimodal" and modalities != 2:
            raise DataError(f"gmu: the form bimodal takes 2 modalities, and there are {modalities}; set independent")
        self.pooling: Pooling = pooling
        self.unit = GatedUnit([layout.hidden] * modalities, layout.hidden, form)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        vectors, present = whole(features, self.pooling)
        return one_row(self.unit(vectors, present)[0], present)
