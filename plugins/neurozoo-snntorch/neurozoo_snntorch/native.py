"""What snnTorch gives by itself: ``Leaky`` with its own reset, surrogate, ties and input scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snntorch import Leaky, SpikingNeuron, surrogate
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.errors import SpikingError

__all__ = ["SnnTorchNativeNeuron"]

_SURROGATES: Mapping[str, Callable[[float], Any]] = {
    "atan": surrogate.atan,
    "sigmoid": surrogate.sigmoid,
    "superspike": surrogate.fast_sigmoid,
}
"""snnTorch's function for each of the core's names."""


class SnnTorchNativeNeuron(Neuron):
    """What a user of snnTorch gets for a :class:`~neurozoo.core.interfaces.LIFSpec`: another model.

    ``Leaky(beta=1 - 1/tau)`` with the reset mechanism ``zero`` or ``subtract``. Its reset comes a
    step late, detached, and by the threshold of that step; the input is added as it is, whatever
    ``decay_input`` says; and it is silent where the membrane equals the threshold.

    The state is the membrane that Leaky returns, before its late reset.

    Args:
        spec: What neuron to be, as far as snnTorch can.

    Raises:
        SpikingError: The spec resets to something other than 0, which Leaky cannot.
    """

    runs = "snntorch: Leaky with its reset, snntorch.surrogate"
    graph_breaks = True  # as its adapter

    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(spec)
        if spec.v_reset:
            raise SpikingError(
                f"snnTorch resets to 0 or by the threshold, and v_reset is {spec.v_reset}; "
                "set it to 0 or null, or use the backend 'snntorch'"
            )

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        if state.shape != current.shape:  # Leaky would silently start from zeros
            raise SpikingError(
                f"a state of shape {list(state.shape)} does not fit a step's current of shape "
                f"{list(current.shape)}; give one membrane a neuron, or None to start from rest"
            )
        # Leaky keeps membrane and threshold as buffers, so that one lasts for a step.
        spikes, membrane = self._leaky(threshold).to(current.device)(current, state)
        return spikes, membrane

    def _leaky(self, threshold: Tensor | float) -> Leaky:
        spec = self.spec
        leaky = Leaky(
            beta=1 - 1 / spec.tau,
            threshold=threshold,
            spike_grad=_SURROGATES[spec.surrogate](spec.alpha),
            reset_mechanism="subtract" if spec.v_reset is None else "zero",
        )
        # Every instance is kept in a list of the library's for its init_hidden mode: unused here, and a leak.
        if leaky in SpikingNeuron.instances:
            SpikingNeuron.instances.remove(leaky)
        return leaky
