"""Spiking neurons that read a text word by word: LIF along the sequence.

Composition only: the parts are in ``neurozoo.nn``, the choices in the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.interfaces import (
    Activation,
    Batch,
    Inputs,
    LabelHead,
    Layout,
    LIFSpec,
    Neuron,
    Parts,
    ThresholdPolicy,
    Tokens,
    ZooModel,
)
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.errors import SpikingError
from neurozoo.models.smile.sequence_branch import SequenceBranch, State, by_position
from neurozoo.nn.dropout import Dropout
from neurozoo.nn.sequence import concatenate, left_aligned, zero_padding
from neurozoo.nn.standardise import Standardise

__all__ = ["SpikingSequence", "StreamState"]

Probability = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=65_536)]


@dataclass(frozen=True)
class StreamState:
    """What :meth:`SpikingSequence.stream` carries from one chunk to the next.

    Attributes:
        membranes: By spiking modality, what its branch's layers carry.
        outputs: By modality, what the head reads: a row ``[B, n, D]`` for each position so far.
    """

    membranes: Mapping[str, State] = field(default_factory=dict)
    outputs: Mapping[str, Tokens] = field(default_factory=dict)


class SpikingSequence(ZooModel):
    """Reads a text, or any sequence, one step a position, with the state carried through it.

    Each spiking modality is projected and drives a branch of two layers of neurons along its
    sequence; the head reads their spikes, and a context's projection. Padding takes no step.

    Args:
        inputs: The data's sizes and roles.
        parts: Builds the parts of ``slots`` as the recipe names them.
        neuron: Makes the backend's neuron.
        standardise: Whether features are scaled by training statistics first.
        hidden: Width D of all sequences, and neurons of a branch's second layer.
        heads: Attention heads of the label head; divides ``hidden``.
        spiking_inner: Neurons of a branch's first layer.
        dropout: Probability, for parts that ask the layout for it.
        input_dropout: Probability, on the input features.
    """

    slots: ClassVar[Mapping[str, str]] = {"activation": "activation", "threshold": "threshold", "head": "label-head"}

    def __init__(
        self,
        inputs: Inputs,
        parts: Parts,
        neuron: Callable[[LIFSpec], Neuron],
        standardise: bool,
        *,
        hidden: Size = 60,
        heads: Size = 5,
        spiking_inner: Size = 128,
        dropout: Probability = 0.1,
        input_dropout: Probability = 0.25,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        layout = Layout(hidden, heads, dropout, inputs.spiking, inputs.context, inputs.labels, neuron)
        scaled = inputs.modalities if standardise else ()
        self.standardise = nn.ModuleDict({m: Standardise(inputs.dims[m]) for m in scaled})
        self.input_dropout = Dropout(input_dropout)
        self.project = nn.ModuleDict({m: nn.Linear(inputs.dims[m], hidden, bias=False) for m in inputs.modalities})
        self.threshold: ThresholdPolicy = parts("threshold", layout)
        self.branches = nn.ModuleDict(
            {
                m: SequenceBranch(hidden, spiking_inner, parts("activation", layout), parts("activation", layout))
                for m in inputs.spiking
            }
        )
        self.head: LabelHead = parts("head", layout)

    @staticmethod
    def check_params(*, hidden: int = 60, heads: int = 5, **_others: object) -> Iterable[tuple[str, str]]:
        """Sizes that cannot be built, as (parameter, problem)."""
        if hidden % heads:
            yield "heads", f"{heads} heads do not divide hidden = {hidden}; choose a divisor of {hidden}"

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[B, K]`` of a batch; in training mode it updates the running statistics.

        Raises:
            SpikingError: The threshold is not finite.
        """
        projected = {m: self._projected(m, batch) for m in self.inputs.modalities}
        threshold = self.threshold({m: projected[m] for m in self.inputs.spiking})
        fired = [p.with_x(self.branches[m](p.x, threshold)) if m in self.branches else p for m, p in projected.items()]
        logits: Tensor = self.head(concatenate(fired))
        return logits

    @torch.no_grad()
    def stream(self, batch: Batch, state: StreamState | None = None) -> tuple[Tensor, StreamState]:
        """Take in the next words of each sample, and say what is known by now.

        However a text is cut into chunks, its logits are the very bits that the whole one gives here and
        by :meth:`forward`, for the same samples padded to the same length.

        Args:
            batch: A chunk: features ``[B, n, D]`` and masks ``[B, n]`` of every modality, n >= 1 of its
                own; a sample that has fewer words is padded.
            state: What the last chunk gave; None before the first.

        Returns:
            Logits ``[B, K]`` of all words so far, and the state.

        Raises:
            SpikingError: The model is in training mode, its threshold needs whole sequences, an
                activation cannot carry on a state, or the chunk has other samples than the last one.
        """
        self._check_stream(batch, state)
        state = state or StreamState()
        threshold = self.threshold({})
        membranes, outputs = dict(state.membranes), dict(state.outputs)
        for name in self.inputs.modalities:
            mask = batch.masks[name]
            rows = by_position(self._projection(name), self._features(name, batch).transpose(0, 1))
            if name in self.branches:
                branch, fired = self._branch(name), []
                carried = membranes.get(name, branch.rest())
                for x, valid in zip(rows.unbind(0), mask.unbind(1), strict=True):
                    spikes, carried = branch.step(x, valid, threshold, carried)
                    fired.append(spikes)
                membranes[name], rows = carried, torch.stack(fired)
            here = left_aligned(rows.transpose(0, 1), mask)
            outputs[name] = concatenate([outputs[name], here]) if name in outputs else here
        # Aligned as forward has it, so that the head adds up in the same order.
        heard = [left_aligned(each.x, each.mask) for each in outputs.values()]
        return self.head(concatenate(heard)), StreamState(membranes, outputs)

    def layer_masks(self, batch: Batch) -> Mapping[str, Tensor | None]:
        return {
            name: self._steps(batch.masks[name.split(".")[1]])
            for name, module in self.named_modules()
            if isinstance(module, Activation | DynamicThresholdLIF)
        }

    def branches_by_name(self) -> Mapping[str, Sequence[tuple[nn.Linear, Activation]]]:
        return {name: self._branch(name).stages() for name in self.branches}

    def _branch(self, name: str) -> SequenceBranch:
        return cast(SequenceBranch, self.branches[name])

    def _projection(self, name: str) -> nn.Linear:
        return cast(nn.Linear, self.project[name])

    def _features(self, name: str, batch: Batch) -> Tensor:
        x = batch.features[name]
        if name in self.standardise:
            x = self.standardise[name](x)
        dropped: Tensor = self.input_dropout(zero_padding(x, batch.masks[name]))
        return dropped

    def _projected(self, name: str, batch: Batch) -> Tokens:
        aligned = left_aligned(self._features(name, batch), batch.masks[name])
        return aligned.of(name).with_x(by_position(self._projection(name), aligned.x.transpose(0, 1)).transpose(0, 1))

    @staticmethod
    def _steps(mask: Tensor) -> Tensor:
        """The steps that count, ``[T = L, B, 1]``: as many as there are valid positions, from the first."""
        places = torch.arange(mask.shape[1], device=mask.device)
        return (places[:, None] < mask.sum(1))[..., None]

    def _check_stream(self, batch: Batch, state: StreamState | None) -> None:
        if self.training:
            raise SpikingError("a model in training mode cannot stream, its dropout would differ; call eval() first")
        if self.threshold.whole_sequence:
            raise SpikingError(
                f"{type(self.threshold).__name__} chooses the threshold by the whole sequence, which a stream does not "
                "have; set model.parts.threshold=constant and train"
            )
        there = {len(each.x) for each in state.outputs.values()} if state is not None else set()
        if there - {len(batch)}:
            raise SpikingError(
                f"the chunk has {len(batch)} samples and the state is of {there.pop()}; give the same ones, in order"
            )

    def extra_repr(self) -> str:
        return f"spiking={self.inputs.spiking}, context={self.inputs.context}"
