"""The spiking branch: two linears, each followed by a layer of neurons, over T time steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Layout, LIFSpec, Surrogate
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.nn.hook_checks import listened_to

__all__ = ["LIFActivation", "ReLUActivation", "SpikingBranch", "fire"]

FEW = 2**16
"""Currents of a branch's layer, all steps together, up to which its neurons run as one layer with another's: calling an
operation then takes longer than it does."""


class LIFActivation(Activation):
    """Leaky integrate-and-fire neurons of the recipe's backend.

    Args:
        layout: The model's layout; gives the backend.
        tau: Membrane time constant, in steps.
        decay_input: Whether the current is divided by ``tau``.
        v_reset: Membrane after a spike; null for a soft reset.
        detach_reset: Whether the gradient stops at the reset.
        surrogate: Backward function of a spike.
        alpha: Its steepness, dimensionless.
        apply: ``threshold`` compares the membrane with the policy's threshold; ``gain`` divides
            the current by it and fires at 1. Without reset offset and from rest both give the
            same spikes, with other surrogate gradients: a scalar threshold is a gain.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        tau: Annotated[float, Field(gt=1)] = 2.0,
        decay_input: bool = True,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        surrogate: Surrogate = "atan",
        alpha: Annotated[float, Field(gt=0)] = 2.0,
        apply: Literal["threshold", "gain"] = "threshold",
    ) -> None:
        super().__init__()
        spec = LIFSpec(tau, decay_input, v_reset, detach_reset, surrogate, alpha)
        self.lif = DynamicThresholdLIF(layout.neuron(spec))
        self.gain = apply == "gain"

    def forward(self, currents: Tensor, threshold: Tensor) -> Tensor:
        level = _by_sample(threshold, currents)
        spikes: Tensor = self.lif(currents / level, 1.0) if self.gain else self.lif(currents, level)
        return spikes

    def run(self, currents: Tensor, threshold: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        level = _by_sample(threshold, currents)
        return self.lif.run(currents / level, 1.0, state) if self.gain else self.lif.run(currents, level, state)


class ReLUActivation(Activation):
    """``relu(I / threshold)`` at every step: the control without spikes, of equal parameters.

    Args:
        layout: The model's layout, not used.
    """

    temporal = False

    def __init__(self, layout: Layout) -> None:
        super().__init__()

    def forward(self, currents: Tensor, threshold: Tensor) -> Tensor:
        return torch.relu(currents / _by_sample(threshold, currents))

    def run(self, currents: Tensor, threshold: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self(currents, threshold), None


def _by_sample(threshold: Tensor, currents: Tensor) -> Tensor:
    """A threshold 0-d or ``[B]``, shaped to go with currents ``[T, B, ...]``."""
    return threshold if threshold.dim() == 0 else threshold.reshape(1, -1, *[1] * (currents.dim() - 2))


class SpikingBranch(nn.Module):
    """``Linear -> neurons -> Linear -> neurons`` on each position, the input held for T steps.

    Args:
        hidden: Features D of input and output.
        inner: Neurons of the first layer.
        time_steps: T.
        first: Activation after the first linear.
        second: Activation after the second one.

    Attributes:
        plain: Whether its neurons never run with another branch's, see :func:`fire`.
    """

    plain = False

    def __init__(self, hidden: int, inner: int, time_steps: int, first: Activation, second: Activation) -> None:
        super().__init__()
        self.time_steps = time_steps
        self.linear1 = nn.Linear(hidden, inner)
        self.activation1 = first
        self.linear2 = nn.Linear(inner, hidden)
        self.activation2 = second

    def stages(self) -> list[tuple[nn.Linear, Activation]]:
        """Each linear with the activation that it drives, in order."""
        return [(self.linear1, self.activation1), (self.linear2, self.activation2)]

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        """Firing rates ``[B, L, D]``, in spikes a step, of ``x`` ``[B, L, D]``.

        Args:
            x: The modality's projection.
            threshold: 0-d or ``[B]``, dimensionless.
        """
        # The input is the same at every step: multiply once, and present it T times.
        current = self.linear1(x).expand(self.time_steps, -1, -1, -1)  # [T, B, L, N]
        spikes = self.activation2(self.linear2(self.activation1(current, threshold)), threshold)
        rates: Tensor = spikes.mean(0)
        return rates


def fire(branches: Sequence[SpikingBranch], xs: Sequence[Tensor], threshold: Tensor) -> list[Tensor]:
    """The firing rates ``[B, L, D]`` of each branch, to the bit as a call gives them.

    Where branches are alike and small, and nothing is to be differentiated, their neurons run as one layer, the
    positions of one sequence after another's.

    Args:
        branches: Those that share a threshold.
        xs: Each one's input, ``[B, L, D]``.
        threshold: 0-d or ``[B]``, dimensionless.
    """
    pairs = list(zip(branches, xs, strict=True))
    first, lengths = branches[0], [x.shape[1] for x in xs]
    alone = torch.is_grad_enabled() or torch.compiler.is_compiling() or len(pairs) == 1
    kinds = {None} if alone else {_kind(*pair) for pair in pairs}
    if None in kinds or len(kinds) > 1:
        return [branch(x, threshold) for branch, x in pairs]
    current = torch.cat([branch.linear1(x) for branch, x in pairs], 1).expand(first.time_steps, -1, -1, -1)
    spikes = first.activation1(current, threshold).split_with_sizes(lengths, 2)
    # In a row, as in a call: a linear of numbers that are not is rounded otherwise.
    currents = torch.cat([branch.linear2(each.contiguous()) for branch, each in zip(branches, spikes, strict=True)], 2)
    return list(first.activation2(currents, threshold).mean(0).split_with_sizes(lengths, 1))


def _kind(branch: SpikingBranch, x: Tensor) -> tuple[Any, ...] | None:
    """What branches have in common whose neurons can be one layer; None where they had better not."""
    if type(branch) is not SpikingBranch or branch.plain or listened_to(branch):
        return None
    steps, (batch, length, hidden) = branch.time_steps, x.shape
    found: list[Any] = [steps, batch, hidden, x.dtype, x.device]
    for linear, activation in branch.stages():
        if type(linear) is not nn.Linear or steps * batch * length * linear.out_features > FEW:
            return None
        if type(activation) is not LIFActivation or type(activation.lif) is not DynamicThresholdLIF:
            return None
        found += linear.out_features, activation.gain, activation.lif.spec, type(activation.lif.neuron)
    return tuple(found)
