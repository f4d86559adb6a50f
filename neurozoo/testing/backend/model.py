"""A small model around a neuron, for the cases on what a model that uses it can do."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.testing.backend.inputs import made_up_currents

__all__ = ["INPUTS", "OUTPUTS", "SmallModel"]

INPUTS, INNER, OUTPUTS = 5, 8, 4


class SmallModel(nn.Module):
    """``Linear - LIF - Linear - LIF`` with one learnt threshold, and the same weights each time.

    Args:
        neuron: Makes the backend's neuron.
        spec: Of both layers.
        dtype: Of the weights.
    """

    def __init__(self, neuron: Callable[[LIFSpec], Neuron], spec: LIFSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # Weights are drawn below; torch's own draw would move the caller's random numbers on.
        with torch.random.fork_rng(devices=[]):
            self.linear1 = nn.Linear(INPUTS, INNER, dtype=dtype)
            self.linear2 = nn.Linear(INNER, OUTPUTS, dtype=dtype)
        self.lif1 = DynamicThresholdLIF(neuron(spec))
        self.lif2 = DynamicThresholdLIF(neuron(spec))
        self.threshold = nn.Parameter(torch.tensor(0.7, dtype=dtype))
        with torch.no_grad():
            for seed, linear in enumerate((self.linear1, self.linear2)):
                linear.weight.copy_(made_up_currents(*linear.weight.shape, seed=seed) * 0.7)
                linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Spikes ``[T, B, OUTPUTS]`` of inputs ``[T, B, INPUTS]``."""
        hidden: Tensor = self.lif1(self.linear1(x), self.threshold)
        spikes: Tensor = self.lif2(self.linear2(hidden), self.threshold)
        return spikes
