"""What Norse gives by itself: its box neuron, with its own ties, surrogate and rounding."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.errors import SpikingError

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.lif_box import LIFBoxCell

__all__ = ["NorseNativeNeuron"]


class NorseNativeNeuron(Neuron):
    """What a user of Norse gets for a :class:`~neurozoo.core.interfaces.LIFSpec`: another model.

    ``LIFBoxCell`` with ``dt = 1`` and ``tau_mem_inv = 1/tau``, and its default surrogate ``super``
    whatever the spec asks for, because Norse has neither ATan nor the sigmoid. It is silent where
    the membrane equals the threshold.

    Args:
        spec: What neuron to be, as far as Norse can.

    Raises:
        SpikingError: The spec asks for an undecayed input or a detached reset, which it has not.
    """

    runs = "norse.torch: LIFBoxCell, lif_box_feed_forward_step, threshold with its surrogate 'super'"

    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(spec)
        if not spec.decay_input:
            raise SpikingError("Norse always divides the input by tau; set decay_input, or use the backend 'norse'")
        if spec.detach_reset:
            raise SpikingError("Norse never detaches the reset; unset detach_reset, or use the backend 'norse'")

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        # The threshold is one of the cell's parameters, so a cell lasts for a step.
        spikes, after = LIFBoxCell(self._parameters(current, threshold), dt=1.0)(current, LIFBoxFeedForwardState(state))
        return spikes, after.v

    def _parameters(self, current: Tensor, threshold: Tensor | float) -> LIFBoxParameters:
        """0-d tensors of the current's dtype and device, as Norse's own are of its defaults."""

        def scalar(value: float) -> Tensor:
            return torch.tensor(value, dtype=current.dtype, device=current.device)

        spec = self.spec
        return LIFBoxParameters(
            tau_mem_inv=scalar(1.0 / spec.tau),
            v_leak=scalar(spec.rest),
            v_th=threshold if isinstance(threshold, Tensor) else scalar(threshold),
            v_reset=scalar(spec.rest),
            reset_method=reset_subtract if spec.v_reset is None else reset_value,
        )
