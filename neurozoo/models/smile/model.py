"""SMILE: spiking multi-modal interactive label-guided enhancement network (ICME 2024).

Composition only: its own parts are in this folder, fusions and label heads in theirs, the choices in the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import NeuronChoice, Parts
from neurozoo.core.multimodal import Features, Fusion, LabelHead, Tokens
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.smile.authors_names import AUTHORS_NAMES
from neurozoo.models.smile.branch import SpikingBranch
from neurozoo.models.smile.modalities import CORRECTED_PARTS, MultimodalModel, Size
from neurozoo.models.smile.parts import Encoder, Scaling, ThresholdPolicy, TorchBlocks
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import tokens, zero_padding

__all__ = ["SMILE"]


class SMILE(MultimodalModel):
    """Recognises several emotions at once from any set of modalities.

    A self-attention block refines each modality. The firing rates of a spiking branch scale what a second block of the
    spiking modalities attends to. The fusion combines all to one sequence, and the label head maps it to one output
    per label.

    Args:
        problem: Signals of features ``[L, D]``, one a modality; any task per sample.
        context: The one modality without a spiking branch; null for none.
        spiking: The modalities with a spiking branch, in order; null for all others.
        hidden: Width D of all sequences.
        heads: Attention heads; divides ``hidden``.
        spiking_inner: Neurons of a branch's first layer.
        time_steps: T, for which the branch holds each position.
        dropout: Probability, in the encoder blocks.
        context_dropout: Probability, on the context's input features.
        padding: ``masked`` excludes padding everywhere; ``visible`` includes it, as published.
        arithmetic: ``fast`` draws dropout masks four at a time on a CPU (``neurozoo.nn.dropout``), and computes encoder
            blocks by the part in the slot ``encoder``; ``plain`` uses torch's own masks, and calls each block. Results
            are equal up to rounding and to the elements that dropout drops.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {
        "activation": NeuronChoice,
        "threshold": ThresholdPolicy,
        "scaling": Scaling,
        "fusion": "fusion",
        "head": "label-head",
        "encoder": Encoder,
    }
    optional = ("encoder",)
    slot_defaults = CORRECTED_PARTS
    authors_names = AUTHORS_NAMES

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        context: str | None = None,
        spiking: tuple[str, ...] | None = None,
        hidden: Size = 30,
        heads: Size = 5,
        spiking_inner: Size = 128,
        time_steps: Size = 5,
        dropout: Probability = 0.1,
        context_dropout: Probability = 0.25,
        padding: Literal["masked", "visible"] = "masked",
        arithmetic: Literal["fast", "plain"] = "fast",
    ) -> None:
        super().__init__(problem, context, spiking)
        self.masked = padding == "masked"
        dims = {name: problem.signals[name].dim for name in self.modalities}
        layout = self.layout(hidden, heads, dropout)
        named: Encoder | None = parts("encoder", layout)
        self.encoder = TorchBlocks(layout) if named is None or arithmetic == "plain" else named
        layout = replace(layout, encode=self.encoder.encode, neuron=neuron)

        self.context_dropout = Dropout(context_dropout)
        self.project = nn.ModuleDict({m: nn.Linear(dims[m], hidden, bias=False) for m in self.modalities})
        self.refine = nn.ModuleDict(
            {
                m: EncoderBlock(hidden, heads, dropout, attention_dropout=dropout if m == context else 0.0)
                for m in self.modalities
            }
        )
        self.threshold: ThresholdPolicy = parts("threshold", layout)
        self.branches = nn.ModuleDict(
            {
                m: SpikingBranch((parts("activation"), parts("activation")), neuron, hidden, spiking_inner, time_steps)
                for m in self.spiking
            }
        )
        self.scaling = nn.ModuleDict({m: cast(Scaling, parts("scaling", layout)) for m in self.spiking})
        self.enhance = nn.ModuleDict({m: EncoderBlock(hidden, heads, dropout, 0.0) for m in self.spiking})
        self.fusion: Fusion = parts("fusion", layout)
        self.head: LabelHead = parts("head", replace(layout, hidden=self.fusion.width or hidden))
        for module in self.modules():
            if isinstance(module, Dropout):
                module.plain = arithmetic == "plain"

    def forward(self, batch: Batch) -> Tensor:
        """Return outputs ``[B, K]``; training mode updates the running statistics.

        Raises:
            SpikingError: The threshold is not finite.
        """
        projected = {m: self.projected(m, batch) for m in self.modalities}
        threshold = self.threshold({m: projected[m] for m in self.spiking})
        names, p = list(projected), list(projected.values())
        blocks = [cast(EncoderBlock, self.refine[name]) for name in names]
        encoded = dict(zip(names, self.encoder.encode(blocks, p, p), strict=True))
        fired: dict[str, Tensor] = {}
        enhanced = encoded | self._enhanced(projected, encoded, threshold, fired)
        spikes = {name: projected[name].with_x(each.permute(1, 2, 0, 3)) for name, each in fired.items()}
        refined = {
            name: Features(each, encoded[name], enhanced[name], name in self.spiking, spikes.get(name))
            for name, each in projected.items()
        }
        return self.head.outputs(self.fusion(refined), batch.target if self.training else None)

    def projected(self, name: str, batch: Batch) -> Tokens:
        """Return a modality's projection ``[B, L, D]``; visible padding is projected from zeros."""
        signal = self.signal(batch, name)
        mask = signal.mask if self.masked else None
        x = self.context_dropout(signal.values) if name == self.context else signal.values
        return tokens(self.project[name](x), mask).of(name)

    def _enhanced(
        self,
        projected: Mapping[str, Tokens],
        encoded: Mapping[str, Tokens],
        threshold: Tensor,
        fired: dict[str, Tensor],
    ) -> dict[str, Tokens]:
        """Return each spiking modality after attention to itself, scaled by its firing rates.

        If the fusion needs them, spikes ``[T, B, L, D]`` are put into ``fired``.
        """
        before, scaled = [encoded[name] for name in self.spiking], []
        for name, h in zip(self.spiking, before, strict=True):
            given = projected[name].x, threshold, projected[name].mask
            if self.fusion.needs_spikes:
                fired[name] = self.branches[name](*given, trains=True)
            rates = fired[name].mean(0) if name in fired else self.branches[name](*given)
            scaled.append(h.with_x(self.scaling[name](h, zero_padding(rates, projected[name].mask))))
        blocks = [cast(EncoderBlock, self.enhance[name]) for name in self.spiking]
        attended = self.encoder.encode(blocks, before, scaled)
        return {name: h.with_x(h.x + e.x) for name, h, e in zip(self.spiking, before, attended, strict=True)}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, masked={self.masked}"
