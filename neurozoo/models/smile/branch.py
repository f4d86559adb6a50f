"""The spiking branch: two linears, each followed by a layer of neurons, over T time steps."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Layout, LIFSpec, Surrogate
from neurozoo.core.layer import DynamicThresholdLIF

__all__ = ["LIFActivation", "ReLUActivation", "SpikingBranch"]


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
    """

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
