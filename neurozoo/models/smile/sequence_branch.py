"""The spiking branch whose neurons live through the sequence: one step a position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation

__all__ = ["SequenceBranch", "by_position"]

State = tuple[Tensor | None, ...]
"""What each layer carries from one position to the next; None at rest, and where a layer has nothing to carry."""


class SequenceBranch(nn.Module):
    """``Linear -> neurons -> Linear -> neurons`` with one step a position, from left to right.

    Unlike :class:`~neurozoo.models.smile.branch.SpikingBranch`, which presents each position for T steps from
    rest, the membrane is carried from each position to the next, so that T = L and what a neuron
    fires depends on what came before, and on nothing that comes after.

    Args:
        hidden: Features D of input and output.
        inner: Neurons of the first layer.
        first: Activation after the first linear.
        second: Activation after the second one.
    """

    def __init__(self, hidden: int, inner: int, first: Activation, second: Activation) -> None:
        super().__init__()
        self.linear1 = nn.Linear(hidden, inner)
        self.activation1 = first
        self.linear2 = nn.Linear(inner, hidden)
        self.activation2 = second

    def stages(self) -> list[tuple[nn.Linear, Activation]]:
        """Each linear with the activation that it drives, in order."""
        return [(self.linear1, self.activation1), (self.linear2, self.activation2)]

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        """Spikes ``[B, L, D]`` of ``x`` ``[B, L, D]``, from rest at its first position.

        Args:
            x: Valid rows first; what follows them changes none of their spikes.
            threshold: 0-d or ``[B]``, dimensionless.
        """
        steps = x.transpose(0, 1)[:, :, None]  # [T = L, B, 1, D]: to a layer, each sample is at one place
        for linear, activation in self.stages():
            steps = activation(by_position(linear, steps), threshold)
        return steps[:, :, 0].transpose(0, 1)

    def step(self, x: Tensor, valid: Tensor, threshold: Tensor, state: State) -> tuple[Tensor, State]:
        """One position, from the state that the last one left.

        Args:
            x: ``[B, D]``.
            valid: ``[B]`` bool; the state of a sample that has nothing here stays as it is.
            threshold: 0-d or ``[B]``, dimensionless.
            state: One a layer, see :meth:`rest`.

        Returns:
            Spikes ``[B, D]``, of no use where ``valid`` is false, and the new state.

        Raises:
            SpikingError: An activation cannot carry on a state.
        """
        here, states = valid[:, None, None], []  # as the state, [B, 1, N]
        steps = x[None, :, None]
        for (linear, activation), old in zip(self.stages(), state, strict=True):
            # No current for a sample without a word: at rest it stays there, and else its state is put back.
            current = linear(steps).masked_fill(~here, 0.0)
            steps, new = activation.run(current, threshold, old)
            states.append(new if new is None or old is None else torch.where(here, new, old))
        return steps[0, :, 0], tuple(states)

    def rest(self) -> State:
        """The state before the first position."""
        return (None,) * len(self.stages())


def by_position(linear: nn.Linear, steps: Tensor) -> Tensor:
    """``linear`` of ``[L, B, ..., D]``; in evaluation mode, position by position.

    A matrix product rounds differently by its shape. Done so, its shape does not depend on L, and a
    sequence that comes in chunks gives the very bits of the whole.
    """
    if linear.training:
        product: Tensor = linear(steps)
        return product
    positions: Sequence[Tensor] = steps.contiguous().unbind(0)
    return torch.stack([linear(position) for position in positions])
