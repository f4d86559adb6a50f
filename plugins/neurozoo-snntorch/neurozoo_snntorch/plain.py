"""Networks as a user of snnTorch writes them from its documentation, for benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from snntorch import RLeaky
from torch import Tensor, nn

from neurozoo.core.neuron import PlainNetwork
from neurozoo_snntorch.neuron import forgotten

__all__ = ["NETWORKS"]


class RecurrentLIF(nn.Module):
    """One layer of recurrent LIF neurons, for ``neurozoo bench events``, in the loop of the library's tutorials."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        self.weight = nn.Linear(shape[0], outputs, bias=False)
        self.fire = forgotten(
            RLeaky(beta=0.5, linear_features=outputs, threshold=params["threshold"], reset_mechanism="zero")
        )
        with torch.no_grad():
            self.weight.weight.copy_(params["weight"] / 2)  # an input is added to the membrane as it is
            self.fire.recurrent.weight.copy_(params["back"] / 2)
            self.fire.recurrent.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes ``[B, L, K]`` of spike trains ``[B, L, N]``."""
        spikes, membrane = self.fire.reset_mem()
        made = []
        for step in range(x.shape[1]):
            spikes, membrane = self.fire(self.weight(x[:, step]), spikes, membrane)
            made.append(spikes)
        return torch.stack(made, 1)


NETWORKS: Mapping[str, PlainNetwork] = {"recurrent-lif": RecurrentLIF}
"""By the name of neurozoo's model, or of what a benchmark compares."""
