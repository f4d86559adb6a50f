"""Every kind of neuron, its loop over time compiled by numba."""

from __future__ import annotations

import torch

from neurozoo.backends.fused.neuron import FusedNeuron
from neurozoo.core.kinds import KINDS
from neurozoo_numba.operator import operators

__all__ = ["NumbaNeuron"]


class NumbaNeuron(FusedNeuron):
    """All kinds of neurons with forward and backward over all steps in one pass each, on the CPU."""

    kinds = tuple(KINDS)
    runs = "numba: Dispatcher.get_overload, which gives neurozoo_numba.kernels compiled"
    operators = operators

    def takes(self, device: torch.device) -> bool:
        return device.type == "cpu"
