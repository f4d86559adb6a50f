"""Neurons of one membrane, built from Norse's ``SNNCell``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from neurozoo.core.kinds import MembraneSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, PlainNetwork, State

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.snn import SNNCell

if TYPE_CHECKING:
    from neurozoo_norse.nir_reader import NorseReader

__all__ = ["NorseNeuron"]


class _Call(NamedTuple):
    """The cell's state: threshold and parameters are passed with each call, Norse would keep them in the cell."""

    v: Tensor
    threshold: Tensor | float
    params: Params


class NorseNeuron(Neuron):
    """LIF, PLIF and IF by Norse: its cell and its resets around an activation that fires at the threshold.

    Norse's own activations are silent where the membrane equals the threshold, choose their surrogate from a closed
    list, and multiply by ``1/tau``, which rounds otherwise than dividing. Its neurons with a synaptic current are
    charged by the current of the step before, and are no ``cuba``.
    """

    kinds = ("lif", "plif", "if")
    runs = "norse.torch: SNNCell, functional.reset.reset_value, functional.reset.reset_subtract"

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__(spec)
        # dt: one step is the unit of tau; Norse's default is a millisecond.
        self._cell = SNNCell(_activation, _no_state, spec, dt=1.0)

    @classmethod
    def nir_reader(cls) -> NorseReader:
        from neurozoo_norse.nir_reader import NorseReader

        return NorseReader()

    @classmethod
    def plain_networks(cls) -> Mapping[str, PlainNetwork]:
        from neurozoo_norse.plain import NETWORKS

        return NETWORKS

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        spikes, after = self._cell(current, _Call(state[0], threshold, self.spec.complete(params)))
        return spikes, (after.v,)


def _activation(current: Tensor, call: _Call, spec: MembraneSpec, dt: float) -> tuple[Tensor, _Call]:
    """One step, as ``lif_box_feed_forward_step`` does it, with a surrogate and ties of our own."""
    v, threshold, params = call
    h = spec.charged(v, current, params)
    z, seen = spec.fire(h - threshold)
    reset = reset_subtract if spec.v_reset is None else reset_value
    return z, call._replace(v=reset(seen, h, params.get("v_reset", 0.0), threshold))


def _no_state(_current: Tensor) -> _Call:
    raise RuntimeError("the adapter always gives the cell its state")
