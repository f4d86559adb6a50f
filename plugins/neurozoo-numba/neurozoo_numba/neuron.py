"""The dynamic-threshold LIF, its loop over time compiled by numba."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.functional import lif_step
from neurozoo.interfaces import Neuron, steps_of
from neurozoo_numba.operator import NUMBERS, lif

__all__ = ["NumbaNeuron"]


class NumbaNeuron(Neuron):
    """LIF with forward and backward over all steps in one pass each.

    For float32 and float64 on the CPU. Other dtypes and devices, states that broadcast and single
    calls of :meth:`step` run the core's equations one operator after the other.
    """

    runs = "numba: Dispatcher.get_overload, which gives neurozoo_numba.kernels compiled"

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return lif_step(current, state, threshold, self.spec)

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        steps_of(threshold, currents)  # refuses what does not fit
        level = threshold if isinstance(threshold, Tensor) else currents.new_full((), threshold)
        if not _fits(currents, state, level):
            return super().scan(currents, state, threshold)
        spec = self.spec
        v_reset = None if spec.v_reset is None else float(spec.v_reset)
        # A graph of torch.compile adds the gradient up itself.
        sum_steps = not torch.compiler.is_compiling() and currents.shape[0] > 1 and currents.stride(0) == 0
        spikes, v = lif(
            currents, state, level.to(currents.dtype),
            float(spec.tau), spec.decay_input, v_reset, spec.detach_reset, spec.surrogate, float(spec.alpha), sum_steps,
        )  # fmt: skip
        return spikes, v


def _fits(currents: Tensor, state: Tensor | None, threshold: Tensor) -> bool:
    """Whether the kernels take it."""
    if currents.dtype not in NUMBERS or currents.device.type != "cpu" or threshold.device != currents.device:
        return False
    if currents.numel() == 0:
        return False
    return state is None or (
        state.dtype == currents.dtype and state.device == currents.device and state.shape == currents.shape[1:]
    )
