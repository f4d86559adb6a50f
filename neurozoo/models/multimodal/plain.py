"""Plain encoders, any fusion, any label head: on these parts are compared with each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Parts
from neurozoo.core.multimodal import Features, Fusion, LabelHead
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import DataError
from neurozoo.models.multimodal.modalities import ModalityModel, Size
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import left_aligned

__all__ = ["PlainMultimodal"]


class PlainMultimodal(ModalityModel):
    """Encodes each modality plainly, fuses all, and answers by a label head; nothing in it spikes.

    For each modality m ``p_m = Lin(dropout(LN(x_m)))`` and ``h_m = dropout(GRU(p_m))``, or ``dropout(relu(p_m))``. The
    gated recurrent units read the valid rows in order. Fusion and head are the parts that the recipe names.

    Args:
        problem: Signals of features ``[L, D]``, one a modality, in the order of ``data.inputs``; any task per sample.
        parts: Fill the slots.
        neuron: For parts with neurons of their own.
        encoder: ``gru``, or ``linear`` for rows that do not see each other before the fusion.
        hidden: Width D of all sequences.
        heads: Attention heads of the parts; divides ``hidden``.
        dropout: Probability, on the encoders' outputs, and in parts that read it from the layout.
        input_dropout: Probability, on the normalised features.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {"fusion": "fusion", "head": "label-head"}
    slot_defaults = {"fusion": "concat", "head": "label-decoder"}  # noqa: RUF012

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        encoder: Literal["gru", "linear"] = "gru",
        hidden: Size = 64,
        heads: Size = 4,
        dropout: Probability = 0.1,
        input_dropout: Probability = 0.0,
    ) -> None:
        super().__init__(problem)
        layout = self.layout(hidden, heads, dropout, neuron)
        dims = {name: problem.signals[name].dim for name in self.modalities}
        self.norm = nn.ModuleDict({name: nn.LayerNorm(dim) for name, dim in dims.items()})
        self.project = nn.ModuleDict({name: nn.Linear(dim, hidden) for name, dim in dims.items()})
        self.recurrent = nn.ModuleDict(
            {name: nn.GRU(hidden, hidden, batch_first=True) for name in dims if encoder == "gru"}
        )
        self.input_dropout, self.dropout = Dropout(input_dropout), Dropout(dropout)
        self.fusion: Fusion = parts("fusion", layout)
        if self.fusion.needs_spikes:
            raise DataError(
                f"model.parts.fusion: {type(self.fusion).__name__} reads spikes, and this model has none; choose "
                "another fusion, or the model smile"
            )
        self.head: LabelHead = parts("head", replace(layout, hidden=self.fusion.width or hidden))

    def forward(self, batch: Batch) -> Tensor:
        refined = {name: self.encoded(name, batch) for name in self.modalities}
        return self.head.outputs(self.fusion(refined), batch.target if self.training else None)

    def encoded(self, name: str, batch: Batch) -> Features:
        """Return a modality as a fusion reads it, its valid rows first."""
        given = self.sequence(name, batch)
        # A recurrent net then needs no mask: padding comes after all rows that count.
        aligned = left_aligned(given.x, given.mask)
        x = self.project[name](self.input_dropout(self.norm[name](aligned.x)))
        projected = aligned.with_x(x).of(name)
        h = self.recurrent[name](x)[0] if name in self.recurrent else x.relu()
        encoded = projected.with_x(cast(Tensor, self.dropout(h)))
        return Features(projected, encoded, encoded, True)
