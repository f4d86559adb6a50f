"""Every kind of neuron, its loop over time compiled by numba."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.backends.fused.neuron import FusedNeuron
from neurozoo.backends.fused.operators import plain, untraced
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Params, Recurrent, State
from neurozoo_numba.operator import operators
from neurozoo_numba.recurrence import recurrence

__all__ = ["NumbaNeuron"]


class NumbaNeuron(FusedNeuron):
    """All kinds of neurons with forward and backward over all steps in one pass each, on the CPU."""

    kinds = tuple(KINDS)
    runs = "numba: Dispatcher.get_overload, which gives neurozoo_numba.kernels compiled"
    operators = operators

    def takes(self, device: torch.device) -> bool:
        return device.type == "cpu"

    def recur(
        self,
        currents: Tensor,
        weight: Tensor,
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
        *,
        detach: bool = False,
        gain: bool = False,
    ) -> Recurrent:
        initial = None if state is None else state[-1]
        given = self.arranged(currents, None if state is None else state[:-1], threshold, params)
        if (
            gain
            or given is None
            or not self.spec.states
            or weight.dtype != currents.dtype
            or (initial is not None and (initial.shape != currents.shape[1:] or initial.dtype != currents.dtype))
            or not untraced(profiled=True)
            or not plain(*(x for x in (currents, weight, initial, *given[:3]) if x is not None))
        ):
            return super().recur(currents, weight, state, threshold, params, detach=detach, gain=gain)
        packed, level, arranged, numbers = given
        outputs, after, driven = recurrence(
            currents, weight, packed, initial, level, arranged, numbers, self.text, detach
        )
        return Recurrent(outputs, (*after.unbind(0), outputs[-1]), driven)
