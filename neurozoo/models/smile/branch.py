"""SMILE's spiking branches: two layers of neurons, over T held steps or along the sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import NeuronChoice
from neurozoo.core.neuron import State

__all__ = ["BRANCHES_RENAMED", "BranchState", "PositionLinear", "SequenceBranch", "SpikingBranch"]

BranchState = tuple[State | None, State | None]
"""What the two layers of a sequence branch carry from one position to the next; None at rest."""
BRANCHES_RENAMED = (
    (r"^branches\.(.+)\.linear1\.", r"branches.\1.first.synapse."),
    (r"^branches\.(.+)\.linear2\.", r"branches.\1.second.synapse."),
)
"""Names of the branches' weights in checkpoints of schema 1, and today's; for ``Model.renamed``."""


class SpikingBranch(nn.Module):
    """``Linear -> neurons -> Linear -> neurons`` on each position, the input held for T steps.

    Args:
        choices: The neurons of the first and of the second layer.
        neuron: Makes the backend's neuron.
        hidden: Features D of input and output.
        inner: Neurons of the first layer.
        time_steps: T.
    """

    def __init__(
        self, choices: Sequence[NeuronChoice], neuron: MakeNeuron, hidden: int, inner: int, time_steps: int
    ) -> None:
        super().__init__()
        self.time_steps = time_steps
        first, second = choices
        self.first = first.layer(neuron, nn.Linear(hidden, inner), shape=(inner,))
        self.second = second.layer(neuron, nn.Linear(inner, hidden), shape=(hidden,))

    def forward(self, x: Tensor, threshold: Tensor, mask: Tensor | None) -> Tensor:
        """Firing rates ``[B, L, D]``, in spikes a step, of ``x`` ``[B, L, D]``.

        Args:
            x: The modality's projection.
            threshold: 0-d or ``[B]``, dimensionless.
            mask: ``[B, L]``, the positions that count; None where all do.
        """
        valid = (torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask)[None]
        spikes = self.second(self.first(x, threshold, steps=self.time_steps, valid=valid), threshold, valid=valid)
        rates: Tensor = spikes.mean(0)
        return rates


class PositionLinear(nn.Linear):
    """A linear on ``[L, B, ..., D]`` that in evaluation mode runs position by position.

    A matrix product rounds differently by its shape. Here its shape does not depend on L, so that a sequence that comes
    in chunks gives the bits of the whole.
    """

    def forward(self, steps: Tensor) -> Tensor:
        if self.training:
            return super().forward(steps)
        return torch.stack([super(PositionLinear, self).forward(each) for each in steps.contiguous().unbind(0)])


class SequenceBranch(nn.Module):
    """``Linear -> neurons -> Linear -> neurons`` with one step a position, from left to right.

    Unlike :class:`SpikingBranch`, which presents each position for T steps from rest, it carries the membrane from each
    position to the next, so that T = L and what a neuron fires depends on what came before, and on nothing that comes
    after.

    Args:
        choices: The neurons of the first and of the second layer.
        neuron: Makes the backend's neuron.
        hidden: Features D of input and output.
        inner: Neurons of the first layer.
    """

    def __init__(self, choices: Sequence[NeuronChoice], neuron: MakeNeuron, hidden: int, inner: int) -> None:
        super().__init__()
        first, second = choices
        self.first = first.layer(neuron, PositionLinear(hidden, inner), shape=(inner,))
        self.second = second.layer(neuron, PositionLinear(inner, hidden), shape=(hidden,))

    def forward(self, x: Tensor, threshold: Tensor, mask: Tensor | None) -> Tensor:
        """Spikes ``[B, L, D]`` of ``x`` ``[B, L, D]``, from rest at its first position.

        Args:
            x: Valid rows first; what follows them changes none of their spikes.
            threshold: 0-d or ``[B]``, dimensionless.
            mask: ``[B, L]``, the rows that count; None where all do.
        """
        valid = None if mask is None else mask.T
        spikes = self.second(self.first(x.transpose(0, 1), threshold, valid=valid), threshold, valid=valid)
        fired: Tensor = spikes.transpose(0, 1)
        return fired

    def step(self, x: Tensor, valid: Tensor, threshold: Tensor, state: BranchState) -> tuple[Tensor, BranchState]:
        """One position, from the state that the last one left.

        Args:
            x: ``[B, D]``.
            valid: ``[B]`` bool; the state of a sample that has nothing here stays as it is.
            threshold: 0-d or ``[B]``, dimensionless.
            state: One a layer, ``(None, None)`` before the first position.

        Returns:
            Spikes ``[B, D]``, of no use where ``valid`` is false, and the new state.
        """
        here, states = valid[:, None], []
        steps = x[None]
        for layer, old in zip((self.first, self.second), state, strict=True):
            # No current for a sample without a word: at rest it stays there, and else its state is put back.
            currents = layer.currents(steps).masked_fill(~here, 0.0)
            steps, new = layer.go_on(currents, old, threshold)
            states.append(new if old is None else tuple(torch.where(here, a, b) for a, b in zip(new, old, strict=True)))
        return steps[0], (states[0], states[1])
