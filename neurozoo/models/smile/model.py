"""SMILE: spiking multi-modal interactive label-guided enhancement network (ICME 2024).

Composition only: the parts are in ``neurozoo.nn``, the choices in the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.interfaces import (
    Activation,
    Batch,
    Features,
    Fusion,
    Inputs,
    LabelHead,
    Layout,
    LIFSpec,
    Neuron,
    Parts,
    Tokens,
    ZooModel,
)
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.models.smile.branch import SpikingBranch
from neurozoo.models.smile.parts import Encoder, TorchBlocks
from neurozoo.nn.attention import EncoderBlock
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import tokens, zero_padding
from neurozoo.nn.standardise import Standardise

__all__ = ["SMILE"]

Probability = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=65_536)]


class SMILE(ZooModel):
    """Recognises several emotions at once from any set of modalities.

    Spiking modalities are refined by a self-attention block and by a spiking branch, whose
    firing rates scale what a second block attends to; a context modality is only refined. The
    fusion makes one sequence of all, the label head one logit a label.

    Args:
        inputs: The data's sizes and roles.
        parts: Builds the parts of ``slots`` as the recipe names them.
        neuron: Makes the backend's neuron.
        standardise: Whether features are scaled by training statistics first.
        hidden: Width D of all sequences.
        heads: Attention heads; divides ``hidden``.
        spiking_inner: Neurons of a branch's first layer.
        time_steps: T, for which each position is presented to the branch.
        dropout: Probability, in the encoder blocks.
        context_dropout: Probability, on the context's input features.
        padding: ``masked`` leaves padding out everywhere; ``visible`` lets it take part, as
            published.
        arithmetic: ``fast`` draws dropout masks four at a time on a CPU (``neurozoo.nn.dropout``), and computes encoder
            blocks by the part in the slot ``encoder``; ``plain`` takes torch's own masks, and calls each block. Both
            are equal up to rounding, and to the elements that dropout drops.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {
        "activation": "activation",
        "threshold": "threshold",
        "scaling": "scaling",
        "fusion": "fusion",
        "head": "label-head",
        "encoder": Encoder,
    }
    optional = ("encoder",)

    def __init__(
        self,
        inputs: Inputs,
        parts: Parts,
        neuron: Callable[[LIFSpec], Neuron],
        standardise: bool,
        *,
        hidden: Size = 30,
        heads: Size = 5,
        spiking_inner: Size = 128,
        time_steps: Size = 5,
        dropout: Probability = 0.1,
        context_dropout: Probability = 0.25,
        padding: Literal["masked", "visible"] = "masked",
        arithmetic: Literal["fast", "plain"] = "fast",
    ) -> None:
        super().__init__()
        self.inputs = inputs
        self.masked = padding == "masked"
        layout = Layout(hidden, heads, dropout, inputs.spiking, inputs.context, inputs.labels, neuron)
        named: Encoder | None = parts("encoder", layout)
        self.encoder = TorchBlocks(layout) if named is None or arithmetic == "plain" else named
        layout = replace(layout, encode=self.encoder.encode)

        scaled = inputs.modalities if standardise else ()
        self.standardise = nn.ModuleDict({m: Standardise(inputs.dims[m]) for m in scaled})
        self.context_dropout = Dropout(context_dropout)
        self.project = nn.ModuleDict({m: nn.Linear(inputs.dims[m], hidden, bias=False) for m in inputs.modalities})
        self.refine = nn.ModuleDict(
            {
                m: EncoderBlock(hidden, heads, dropout, attention_dropout=dropout if m == inputs.context else 0.0)
                for m in inputs.modalities
            }
        )
        self.threshold = parts("threshold", layout)
        self.branches = nn.ModuleDict(
            {
                m: SpikingBranch(
                    hidden, spiking_inner, time_steps, parts("activation", layout), parts("activation", layout)
                )
                for m in inputs.spiking
            }
        )
        self.scaling = nn.ModuleDict({m: parts("scaling", layout) for m in inputs.spiking})
        self.enhance = nn.ModuleDict({m: EncoderBlock(hidden, heads, dropout, 0.0) for m in inputs.spiking})
        self.fusion: Fusion = parts("fusion", layout)
        self.head: LabelHead = parts("head", layout)
        for module in self.modules():
            if isinstance(module, Dropout):
                module.plain = arithmetic == "plain"

    @staticmethod
    def check_params(*, hidden: int = 30, heads: int = 5, **_others: object) -> Iterable[tuple[str, str]]:
        """Sizes that cannot be built, as (parameter, problem)."""
        if hidden % heads:
            yield "heads", f"{heads} heads do not divide hidden = {hidden}; choose a divisor of {hidden}"

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[B, K]`` of a batch; in training mode it updates the running statistics.

        Raises:
            SpikingError: The threshold is not finite.
        """
        projected = {m: self.projected(m, batch) for m in self.inputs.modalities}
        threshold = self.threshold({m: projected[m] for m in self.inputs.spiking})
        names, p = list(projected), list(projected.values())
        blocks = [cast(EncoderBlock, self.refine[name]) for name in names]
        encoded = dict(zip(names, self.encoder.encode(blocks, p, p), strict=True))
        enhanced = encoded | self._enhanced(projected, encoded, threshold)
        refined = {
            name: Features(each, encoded[name], enhanced[name], name in self.inputs.spiking)
            for name, each in projected.items()
        }
        logits: Tensor = self.head(self.fusion(refined))
        return logits

    def projected(self, name: str, batch: Batch) -> Tokens:
        """A modality's projection ``[B, L, D]``, its features scaled and its padding left out as the recipe says."""
        x, mask = batch.features[name], batch.masks[name] if self.masked else None
        if name in self.standardise:
            # Padding stays zero, also where it is visible: it is no value of the feature.
            x = zero_padding(self.standardise[name](x), batch.masks[name])
        else:
            x = zero_padding(x, mask)
        if name == self.inputs.context:
            x = self.context_dropout(x)
        return tokens(self.project[name](x), mask).of(name)

    def layer_masks(self, batch: Batch) -> Mapping[str, Tensor | None]:
        return {
            name: batch.masks[name.split(".")[1]] if self.masked else None
            for name, module in self.named_modules()
            if isinstance(module, Activation | DynamicThresholdLIF)
        }

    def branches_by_name(self) -> Mapping[str, Sequence[tuple[nn.Linear, Activation]]]:
        return {name: branch.stages() for name, branch in self.branches.items() if isinstance(branch, SpikingBranch)}

    def _enhanced(
        self, projected: Mapping[str, Tokens], encoded: Mapping[str, Tokens], threshold: Tensor
    ) -> dict[str, Tokens]:
        """Of each spiking modality, what it becomes by attending to itself as its firing rates scale it."""
        names, scaled = self.inputs.spiking, []
        for name in names:
            rates = self.branches[name](projected[name].x, threshold)
            h = encoded[name]
            scaled.append(h.with_x(self.scaling[name](h, zero_padding(rates, projected[name].mask))))
        before, blocks = [encoded[name] for name in names], [cast(EncoderBlock, self.enhance[name]) for name in names]
        found = self.encoder.encode(blocks, before, scaled)
        return {name: h.with_x(h.x + e.x) for name, h, e in zip(names, before, found, strict=True)}

    def extra_repr(self) -> str:
        return f"spiking={self.inputs.spiking}, context={self.inputs.context}, masked={self.masked}"
