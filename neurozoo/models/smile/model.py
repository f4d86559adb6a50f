"""SMILE: spiking multi-modal interactive label-guided enhancement network (ICME 2024).

Composition only: its own parts are in this folder, fusions and label heads in theirs, the choices in the recipe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import Model, NeuronChoice, Parts
from neurozoo.core.multimodal import Features, Fusion, LabelHead, Layout, Tokens
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.smile.branch import BRANCHES_RENAMED, SpikingBranch
from neurozoo.models.smile.parts import Encoder, Scaling, ThresholdPolicy, TorchBlocks
from neurozoo.models.smile.roles import check_roles, roles
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import tokens, zero_padding

__all__ = ["SMILE"]

Probability = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=65_536)]


class SMILE(Model):
    """Recognises several emotions at once from any set of modalities.

    Spiking modalities are refined by a self-attention block and by a spiking branch, whose firing rates scale what a
    second block attends to; a context modality is only refined. The fusion makes one sequence of all, the label head
    one output for each label.

    Args:
        problem: Signals of features ``[L, D]``, one a modality; any task per sample.
        parts: Builds the parts of ``slots`` as the recipe names them.
        neuron: Makes the backend's neuron.
        context: The one modality without a spiking branch; null for none.
        spiking: The modalities with a spiking branch, in order; null for all others.
        hidden: Width D of all sequences.
        heads: Attention heads; divides ``hidden``.
        spiking_inner: Neurons of a branch's first layer.
        time_steps: T, for which each position is presented to the branch.
        dropout: Probability, in the encoder blocks.
        context_dropout: Probability, on the context's input features.
        padding: ``masked`` leaves padding out everywhere; ``visible`` lets it take part, as published.
        arithmetic: ``fast`` draws dropout masks four at a time on a CPU (``neurozoo.nn.dropout``), and computes encoder
            blocks by the part in the slot ``encoder``; ``plain`` takes torch's own masks, and calls each block. Both
            are equal up to rounding, and to the elements that dropout drops.
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
    works_without_spikes = True
    renamed = BRANCHES_RENAMED

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
        super().__init__(problem)
        self.context, self.spiking = roles(problem, context, spiking)
        self.modalities = (*([] if context is None else [context]), *self.spiking)
        self.masked = padding == "masked"
        dims = {name: problem.signals[name].dim for name in self.modalities}
        layout = Layout(hidden, heads, dropout, self.spiking, self.modalities[: -len(self.spiking)], problem.outputs)
        named: Encoder | None = parts("encoder", layout)
        self.encoder = TorchBlocks(layout) if named is None or arithmetic == "plain" else named
        layout = replace(layout, encode=self.encoder.encode)

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
        self.head: LabelHead = parts("head", layout)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.plain = arithmetic == "plain"

    @staticmethod
    def check_params(problem: Problem | None = None, **params: Any) -> Iterable[tuple[str, str]]:
        if params["hidden"] % params["heads"]:
            hidden = params["hidden"]
            yield "heads", f"{params['heads']} heads do not divide hidden = {hidden}; choose a divisor of {hidden}"
        yield from check_roles(problem, params["context"], params["spiking"])

    def forward(self, batch: Batch) -> Tensor:
        """Outputs ``[B, K]`` of a batch; in training mode it updates the running statistics.

        Raises:
            SpikingError: The threshold is not finite.
        """
        projected = {m: self.projected(m, batch) for m in self.modalities}
        threshold = self.threshold({m: projected[m] for m in self.spiking})
        names, p = list(projected), list(projected.values())
        blocks = [cast(EncoderBlock, self.refine[name]) for name in names]
        encoded = dict(zip(names, self.encoder.encode(blocks, p, p), strict=True))
        enhanced = encoded | self._enhanced(projected, encoded, threshold)
        refined = {
            name: Features(each, encoded[name], enhanced[name], name in self.spiking)
            for name, each in projected.items()
        }
        target = batch.target if self.training else None
        outputs: Tensor = self.head(self.fusion(refined), target)
        return outputs

    def projected(self, name: str, batch: Batch) -> Tokens:
        """A modality's projection ``[B, L, D]``, its features scaled and its padding left out as the recipe says."""
        signal = self.signal(batch, name)
        # Padding stays zero, also where it is visible: it is no value of the feature.
        mask = signal.mask if self.masked else None
        x = self.context_dropout(signal.values) if name == self.context else signal.values
        return tokens(self.project[name](x), mask).of(name)

    def _enhanced(
        self, projected: Mapping[str, Tokens], encoded: Mapping[str, Tokens], threshold: Tensor
    ) -> dict[str, Tokens]:
        """Of each spiking modality, what it becomes by attending to itself as its firing rates scale it."""
        before, scaled = [encoded[name] for name in self.spiking], []
        for name, h in zip(self.spiking, before, strict=True):
            rates = self.branches[name](projected[name].x, threshold, projected[name].mask)
            scaled.append(h.with_x(self.scaling[name](h, zero_padding(rates, projected[name].mask))))
        blocks = [cast(EncoderBlock, self.enhance[name]) for name in self.spiking]
        attended = self.encoder.encode(blocks, before, scaled)
        return {name: h.with_x(h.x + e.x) for name, h, e in zip(self.spiking, before, attended, strict=True)}

    def extra_repr(self) -> str:
        return f"spiking={self.spiking}, context={self.context}, masked={self.masked}"
