"""Spiking neurons that read a text word by word: LIF along the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import NeuronChoice, Parts
from neurozoo.core.multimodal import LabelHead, Tokens
from neurozoo.core.signals import Batch, Problem
from neurozoo.errors import SpikingError
from neurozoo.models.smile.branch import BranchState, PositionLinear, SequenceBranch
from neurozoo.models.smile.modalities import CORRECTED_SEQUENCE_PARTS, MultimodalModel, Size
from neurozoo.models.smile.parts import ThresholdPolicy
from neurozoo.nn.dropout import Dropout, Probability
from neurozoo.nn.sequence import concatenate, left_aligned

__all__ = ["SpikingSequence", "StreamState"]


@dataclass(frozen=True)
class StreamState:
    """State of :meth:`SpikingSequence.stream` between two chunks.

    Attributes:
        membranes: State of each spiking modality's branch.
        outputs: Input of the head by modality: ``[B, n, D]``, a row for each position so far.
    """

    membranes: Mapping[str, BranchState] = field(default_factory=dict)
    outputs: Mapping[str, Tokens] = field(default_factory=dict)


class SpikingSequence(MultimodalModel):
    """Reads a text, or any sequence, one step per position, from rest at its first.

    Each spiking modality is projected and drives a branch of two layers of neurons along its sequence; the head reads
    their spikes, and a context's projection. Padding takes no step.

    Args:
        problem: Signals of features ``[L, D]``, one a modality; any task per sample.
        context: The one modality without a spiking branch; null for none.
        spiking: The modalities with a spiking branch, in order; null for all others.
        hidden: Width D of all sequences, and neurons of a branch's second layer.
        heads: Attention heads of the label head; divides ``hidden``.
        spiking_inner: Neurons of a branch's first layer.
        dropout: Probability, for parts that read it from the layout.
        input_dropout: Probability, on the input features.
    """

    slots: ClassVar[Mapping[str, str | type[Any]]] = {
        "activation": NeuronChoice,
        "threshold": ThresholdPolicy,
        "head": "label-head",
    }
    slot_defaults = CORRECTED_SEQUENCE_PARTS

    def __init__(
        self,
        problem: Problem,
        parts: Parts,
        neuron: MakeNeuron,
        *,
        context: str | None = None,
        spiking: tuple[str, ...] | None = None,
        hidden: Size = 60,
        heads: Size = 5,
        spiking_inner: Size = 128,
        dropout: Probability = 0.1,
        input_dropout: Probability = 0.25,
    ) -> None:
        super().__init__(problem, context, spiking)
        layout = self.layout(hidden, heads, dropout)
        self.input_dropout = Dropout(input_dropout)
        self.project = nn.ModuleDict(
            {m: PositionLinear(problem.signals[m].dim, hidden, bias=False) for m in self.modalities}
        )
        self.threshold: ThresholdPolicy = parts("threshold", layout)
        self.branches = nn.ModuleDict(
            {
                m: SequenceBranch((parts("activation"), parts("activation")), neuron, hidden, spiking_inner)
                for m in self.spiking
            }
        )
        self.head: LabelHead = parts("head", layout)

    def forward(self, batch: Batch) -> Tensor:
        """Return outputs ``[B, K]``; training mode updates the running statistics.

        Raises:
            SpikingError: The threshold is not finite.
        """
        projected = {m: self._projected(m, batch) for m in self.modalities}
        threshold = self.threshold({m: projected[m] for m in self.spiking})
        read = [
            p.with_x(self.branches[m](p.x, threshold, p.mask)) if m in self.branches else p
            for m, p in projected.items()
        ]
        return self.head.outputs(concatenate(read), batch.target if self.training else None)

    @torch.no_grad()
    def stream(self, batch: Batch, state: StreamState | None = None) -> tuple[Tensor, StreamState]:
        """Read the next words of each sample.

        Logits have the same bits however a text is cut into chunks, here and by :meth:`forward`, for the same samples
        padded to the same length.

        Args:
            batch: A chunk: features ``[B, n, D]`` and masks ``[B, n]`` of every modality, n >= 1 of its own; a sample
                with fewer words is padded.
            state: Result of the last chunk; None before the first.

        Returns:
            Logits ``[B, K]`` of all words so far, and the state.

        Raises:
            SpikingError: The model is in training mode, its threshold needs whole sequences, or the chunk has other
                samples than the last one.
        """
        self._check_stream(batch, state)
        state = state or StreamState()
        threshold = self.threshold({})
        membranes, outputs = dict(state.membranes), dict(state.outputs)
        for name in self.modalities:
            signal = self.signal(batch, name)
            rows = self.project[name](self.input_dropout(signal.values).transpose(0, 1))
            if name in self.branches:
                branch, fired = cast(SequenceBranch, self.branches[name]), []
                carried = membranes.get(name, (None, None))
                for x, valid in zip(rows.unbind(0), signal.mask.unbind(1), strict=True):
                    spikes, carried = branch.step(x, valid, threshold, carried)
                    fired.append(spikes)
                membranes[name], rows = carried, torch.stack(fired)
            here = left_aligned(rows.transpose(0, 1), signal.mask)
            outputs[name] = concatenate([outputs[name], here]) if name in outputs else here
        # Aligned as in forward, so that the head sums in the same order.
        read = [left_aligned(each.x, each.mask) for each in outputs.values()]
        return self.head(concatenate(read)), StreamState(membranes, outputs)

    def _projected(self, name: str, batch: Batch) -> Tokens:
        signal = self.signal(batch, name)
        aligned = left_aligned(self.input_dropout(signal.values), signal.mask)
        return aligned.of(name).with_x(self.project[name](aligned.x.transpose(0, 1)).transpose(0, 1))

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
