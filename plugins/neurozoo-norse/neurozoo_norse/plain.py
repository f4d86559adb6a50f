"""Published models as a user of Norse writes them from their papers, for ``neurozoo bench zoo``.

The library's neurons are the nearest ones to the published: charged by a current with a time constant of its own, and
reset to 0. Each network takes what neurozoo's model takes and registers its parameters in the same order.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.neuron import PlainNetwork

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch import LI, LIFParameters, LIFRecurrent, LIParameters, LSNNParameters, LSNNRecurrent

__all__ = ["NETWORKS"]


class CubaRSNN(nn.Module):
    """A current-based recurrent layer and a leaky readout, whose largest membrane answers (Neftci et al. 2019)."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        hidden = params["hidden"]
        alpha, beta = torch.tensor(1 - math.exp(-1 / 5)), torch.tensor(1 - math.exp(-1 / 10))
        # The library multiplies a current by beta on its way to the membrane, and so here the threshold.
        p = LIFParameters(tau_syn_inv=alpha, tau_mem_inv=beta, v_th=beta)
        self.hidden = LIFRecurrent(shape[0], hidden, p=p, autapses=True, dt=1.0)
        self.weight = nn.Linear(hidden, outputs, bias=False)
        self.head = LI(p=LIParameters(tau_syn_inv=alpha, tau_mem_inv=beta), dt=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``[B, K]`` of spike trains ``[B, L, N]``."""
        spikes, _ = self.hidden(x.transpose(0, 1))
        membranes, _ = self.head(self.weight(spikes))
        return membranes.amax(0)  # type: ignore[no-any-return]


class LSNN(nn.Module):
    """A recurrent layer of neurons with an adaptive threshold, and a leaky readout (Bellec et al. 2018)."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        width = params["regular"] + params["adaptive"]
        gain = 1 - math.exp(-1 / 20)
        # The library multiplies a current by the gain on its way to the membrane, and so here threshold and adaptation.
        p = LSNNParameters(
            tau_syn_inv=torch.tensor(1.0),
            tau_mem_inv=torch.tensor(gain),
            tau_adapt_inv=torch.tensor(1 / 2000),
            v_th=torch.tensor(0.6 * gain),
            beta=torch.tensor(1.7 / 2000),
        )
        self.recurrent = LSNNRecurrent(shape[0], width, p=p, dt=1.0)
        self.weight = nn.Linear(width, outputs, bias=False)
        self.head = LI(p=LIParameters(tau_syn_inv=torch.tensor(1.0), tau_mem_inv=torch.tensor(1 / 20)), dt=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``[B, K]`` of spike trains ``[B, L, N]``."""
        spikes, _ = self.recurrent(x.transpose(0, 1))
        membranes, _ = self.head(self.weight(spikes))
        return membranes.mean(0)  # type: ignore[no-any-return]


class RecurrentLIF(nn.Module):
    """One layer of recurrent LIF neurons, for ``neurozoo bench events``: the library's loop over its recurrent cell."""

    def __init__(self, shape: tuple[int, ...], steps: int, outputs: int, params: Mapping[str, Any]) -> None:
        super().__init__()
        one = torch.tensor(1.0)  # synaptic currents last one step
        p = LIFParameters(tau_syn_inv=one, tau_mem_inv=one / 2, v_th=torch.tensor(params["threshold"]))
        self.layer = LIFRecurrent(
            shape[0], outputs, p=p, input_weights=params["weight"], recurrent_weights=params["back"], autapses=True,
            dt=1.0,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes ``[B, L, K]`` of spike trains ``[B, L, N]``."""
        spikes, _ = self.layer(x.transpose(0, 1))
        return spikes.transpose(0, 1)  # type: ignore[no-any-return]


NETWORKS: Mapping[str, PlainNetwork] = {
    "recurrent-lif": RecurrentLIF,
    "cuba-rsnn": CubaRSNN,
    "lsnn": LSNN,
}
"""By the name of neurozoo's model."""
