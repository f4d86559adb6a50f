"""LIF and IF neurons, their loop over time a Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.backends.fused.neuron import FusedNeuron
from neurozoo.errors import DeviceError
from neurozoo_triton.kernels import INTERPRETED
from neurozoo_triton.operator import operators

__all__ = ["TritonNeuron"]


class TritonNeuron(FusedNeuron):
    """``lif`` and ``if`` with forward and backward over all steps in one kernel each, on CUDA devices.

    Where ``TRITON_INTERPRET=1`` was set before it was imported, Triton's interpreter runs the
    kernels on the CPU: slowly, to check them. Parameters that are tensors run the specification's step.
    """

    kinds = ("lif", "if")
    runs = "triton: JITFunction.run, which launches neurozoo_triton.kernels"
    operators = operators

    def takes(self, device: torch.device) -> bool:
        if device.type == "cpu" and not INTERPRETED:
            raise DeviceError(
                "the backend 'triton' needs a CUDA device, and the currents are on the CPU; choose such a device, or "
                "`backend: numba`, which is the same for CPUs. To check the kernels without a GPU, slowly, set "
                "TRITON_INTERPRET=1 before neurozoo starts"
            )
        return device.type in ("cpu", "cuda")

    def fuses(self, params: Tensor | None) -> bool:
        return params is None
