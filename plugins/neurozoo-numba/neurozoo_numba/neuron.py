"""Every kind of neuron, its loop over time compiled by numba."""

from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.backends.fused.neuron import FusedNeuron
from neurozoo.backends.fused.operators import plain, untraced
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Params, Reading, Recurrent, State
from neurozoo_numba.operator import operators
from neurozoo_numba.reading import reading
from neurozoo_numba.recurrence import recurrence
from neurozoo_numba.returning import Fixed, heights_suffice

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
        self_connections: bool = True,
        driven: bool = True,
    ) -> Recurrent:
        initial = None if state is None else state[-1]
        given = None if gain or currents.dim() < 3 else self._arranged(currents, (weight,), state, threshold, params)
        if given is None:
            return super().recur(
                currents, weight, state, threshold, params, detach=detach, gain=gain,
                self_connections=self_connections, driven=driven,
            )  # fmt: skip
        packed, level, arranged, numbers = given
        fixed = Fixed(numbers, self.text, detach, self_connections, driven=driven)
        outputs, after, whole = recurrence(currents, weight, packed, initial, level, arranged, fixed)
        return Recurrent(outputs, (*after.unbind(0), outputs[-1]), whole)

    def read(
        self,
        x: Tensor,
        synapse: Tensor,
        weight: Tensor,
        reader: Tensor,
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
        *,
        valid: Tensor | None = None,
        late: int = 0,
        detach: bool = False,
        self_connections: bool = True,
    ) -> Reading | None:
        initial = None if state is None else state[-1]
        like = x.new_empty(1).expand(len(x) + late, x.shape[1], len(synapse))
        given = self._arranged(like, (x, synapse, weight, reader), state, threshold, params)
        if given is None:
            return None
        packed, level, arranged, numbers = given
        learned = any(each is not None and each.requires_grad for each in (packed, initial, level, arranged))
        if not heights_suffice(self.spec) or (learned and torch.is_grad_enabled()):
            return None
        fixed = Fixed(numbers, self.text, detach, self_connections, late)
        made = reading(x, synapse, weight, reader, packed, initial, level, arranged, valid, fixed)
        return Reading(*made)

    def _arranged(
        self,
        currents: Tensor,
        others: tuple[Tensor, ...],
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
    ) -> tuple[Tensor | None, Tensor, Tensor | None, list[float]] | None:
        """Return the arguments of a loop with outputs that return, or None where another has to run it."""
        initial = None if state is None else state[-1]
        given = self.arranged(currents, None if state is None else state[:-1], threshold, params)
        if (
            given is None
            or not self.spec.states
            or any(x.dtype != currents.dtype or x.device != currents.device for x in others)
            or (initial is not None and (initial.shape != currents.shape[1:] or initial.dtype != currents.dtype))
            or not untraced(profiled=True)
            or not plain(*(x for x in (currents, initial, *others, *given[:3]) if x is not None))
        ):
            return None
        return given
