"""SMILE's spiking branches: two layers of neurons, over T held steps or along the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from neurozoo.core.layer import MakeNeuron
from neurozoo.core.model import NeuronChoice
from neurozoo.core.neuron import State

__all__ = ["BranchState", "PositionLinear", "SequenceBranch", "SpikingBranch"]

BranchState = tuple[State | None, State | None]
"""State of the two layers of a sequence branch; None at rest."""


class _Branch(nn.Module):
    """``Linear -> neurons -> Linear -> neurons``.

    Args:
        choices: The neurons of the first and of the second layer.
        neuron: Makes the backend's neuron.
        hidden: Features D of input and output.
        inner: Neurons of the first layer.
    """

    linear: ClassVar[type[nn.Linear]] = nn.Linear

    def __init__(self, choices: Sequence[NeuronChoice], neuron: MakeNeuron, hidden: int, inner: int) -> None:
        super().__init__()
        first, second = choices
        self.first = first.layer(neuron, self.linear(hidden, inner), shape=(inner,))
        self.second = second.layer(neuron, self.linear(inner, hidden), shape=(hidden,))


class SpikingBranch(_Branch):
    """A branch applied to each position, from rest, with the input held for T steps.

    Args:
        choices: As for every branch; also ``neuron``, ``hidden`` and ``inner``.
        time_steps: T.
    """

    def __init__(
        self, choices: Sequence[NeuronChoice], neuron: MakeNeuron, hidden: int, inner: int, time_steps: int
    ) -> None:
        super().__init__(choices, neuron, hidden, inner)
        self.time_steps = time_steps

    def forward(self, x: Tensor, threshold: Tensor, mask: Tensor | None, trains: bool = False) -> Tensor:
        """Return firing rates ``[B, L, D]``, in spikes per step; or the spikes ``[T, B, L, D]``.

        Args:
            x: The modality's projection ``[B, L, D]``.
            threshold: 0-d or ``[B]``, dimensionless.
            mask: ``[B, L]``, the valid positions; None for all.
            trains: Whether to return the spikes.
        """
        valid = (torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask)[None]
        spikes = self.second(self.first(x, threshold, steps=self.time_steps, valid=valid), threshold, valid=valid)
        fired: Tensor = spikes if trains else spikes.mean(0)
        return fired


class PositionLinear(nn.Linear):
    """A linear on ``[L, B, ..., D]`` that runs position by position in evaluation mode.

    A matrix product rounds differently by its shape, which here does not depend on L: a sequence that comes in chunks
    gives the bits of the whole.
    """

    def forward(self, steps: Tensor) -> Tensor:
        if self.training:
            return super().forward(steps)
        return torch.stack([super(PositionLinear, self).forward(each) for each in steps.contiguous().unbind(0)])


class SequenceBranch(_Branch):
    """A branch along the sequence: T = L, with the membrane carried from each position to the next.

    Spikes depend on earlier positions, and not on later ones.
    """

    linear = PositionLinear

    def forward(self, x: Tensor, threshold: Tensor, mask: Tensor | None) -> Tensor:
        """Return spikes ``[B, L, D]``, from rest at the first position.

        Args:
            x: ``[B, L, D]``, valid rows first; rows after them change none of their spikes.
            threshold: 0-d or ``[B]``, dimensionless.
            mask: ``[B, L]``, the valid rows; None for all.
        """
        valid = None if mask is None else mask.T
        spikes = self.second(self.first(x.transpose(0, 1), threshold, valid=valid), threshold, valid=valid)
        fired: Tensor = spikes.transpose(0, 1)
        return fired

    def step(self, x: Tensor, valid: Tensor, threshold: Tensor, state: BranchState) -> tuple[Tensor, BranchState]:
        """Run one position.

        Args:
            x: ``[B, D]``.
            valid: ``[B]`` bool; the state of other samples does not change.
            threshold: 0-d or ``[B]``, dimensionless.
            state: Of each layer, ``(None, None)`` before the first position.

        Returns:
            Spikes ``[B, D]``, undefined where ``valid`` is false, and the new state.
        """
        here, states = valid[:, None], []
        steps = x[None]
        for layer, old in zip((self.first, self.second), state, strict=True):
            # Without a current a sample at rest stays there; the state of any other sample is restored.
            currents = layer.currents(steps).masked_fill(~here, 0.0)
            steps, new = layer.run(currents, old, threshold)
            states.append(new if old is None else tuple(torch.where(here, a, b) for a, b in zip(new, old, strict=True)))
        return steps[0], (states[0], states[1])
