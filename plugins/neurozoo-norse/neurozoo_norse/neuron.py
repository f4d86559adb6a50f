"""The dynamic-threshold LIF, built from Norse's ``SNNCell``."""

from __future__ import annotations

import warnings
from typing import NamedTuple

from torch import Tensor

from neurozoo.core.equations import lif_charge, spike
from neurozoo.core.interfaces import LIFSpec, Neuron

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.snn import SNNCell

__all__ = ["NorseNeuron"]


class _State(NamedTuple):
    """What goes into a cell: Norse keeps the threshold among the parameters, here it changes by step."""

    v: Tensor
    threshold: Tensor | float


class NorseNeuron(Neuron):
    """LIF by Norse: its cell and its resets around an activation that fires at the threshold.

    Norse's own activations are silent where the membrane equals the threshold, choose their
    surrogate from a closed list, and multiply by ``1/tau``, which rounds otherwise than dividing.
    """

    runs = "norse.torch: SNNCell, functional.reset.reset_value, functional.reset.reset_subtract"

    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(spec)
        # dt: one step is the unit of tau; Norse's default is a millisecond.
        self._cell = SNNCell(_activation, _no_state, spec, dt=1.0)

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        spikes, after = self._cell(current, _State(state, threshold))
        return spikes, after.v


def _activation(current: Tensor, state: _State, spec: LIFSpec, dt: float) -> tuple[Tensor, _State]:
    """One step, as ``lif_box_feed_forward_step`` does it, with a surrogate and ties of our own."""
    h = lif_charge(state.v, current, spec.tau / dt, spec.decay_input, spec.rest)
    z = spike(h - state.threshold, spec.surrogate, spec.alpha)
    reset = reset_subtract if spec.v_reset is None else reset_value
    v = reset(z.detach() if spec.detach_reset else z, h, spec.rest, state.threshold)
    return z, _State(v, state.threshold)


def _no_state(_current: Tensor) -> _State:
    raise RuntimeError("the adapter always gives the cell its state")
