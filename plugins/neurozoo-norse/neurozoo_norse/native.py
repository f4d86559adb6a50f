"""Norse's box neurons unchanged, with their own ties, surrogate and rounding."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.kinds import IFSpec, LIFSpec, LISpec, SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch.functional.iaf import IAFFeedForwardState, IAFParameters
    from norse.torch.functional.leaky_integrator_box import LIBoxParameters, LIBoxState
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.module.iaf import IAFCell
    from norse.torch.module.leaky_integrator_box import LIBoxCell
    from norse.torch.module.lif_box import LIFBoxCell

__all__ = ["NorseNativeNeuron"]


class NorseNativeNeuron(Neuron):
    """The neuron that a user of Norse gets: another model.

    ``LIFBoxCell`` with ``dt = 1`` and ``tau_mem_inv = 1/tau``, ``IAFCell`` or ``LIBoxCell``, with Norse's default
    surrogate ``super`` whatever the specification asks for, because Norse has neither ATan nor the sigmoid. It is
    silent where the membrane equals the threshold.
    """

    kinds = ("lif", "if", "li")
    runs = "norse.torch: LIFBoxCell, IAFCell, LIBoxCell and their steps, threshold with its surrogate 'super'"

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        if reason := super().refusal(spec):
            return reason
        if isinstance(spec, LIFSpec) and not spec.decay_input:
            return "Norse always divides the input by tau; set decay_input, or use the backend 'norse'"
        if isinstance(spec, SpikingSpec) and spec.detach_reset:
            return "Norse never detaches the reset; unset detach_reset, or use the backend 'norse'"
        if isinstance(spec, IFSpec) and spec.v_reset is None:
            return "Norse's IAFCell resets to a value, and v_reset is null; set it, or use the backend 'norse'"
        if isinstance(spec, LISpec) and abs(spec.gain - (1 - spec.decay)) > 1e-9:
            return (
                f"Norse's LIBoxCell scales the input by 1 - decay, which is {1 - spec.decay:g}, and gain is "
                f"{spec.gain:g}; set gain so, or use another backend, such as torch"
            )
        return ""

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        used = {
            name: value if isinstance(value, Tensor) else current.new_tensor(value)
            for name, value in {"threshold": threshold, **self.spec.complete(params)}.items()
        }
        # The threshold is one of the cell's parameters, so each step needs a new cell.
        cell, start = self._cell(used, state[0])
        out, after = cell(current, start)
        return out, (after.v,)

    def _cell(self, used: dict[str, Tensor], v: Tensor) -> tuple[Any, Any]:
        """Norse's cell, and its state."""
        spec, threshold = self.spec, used["threshold"]
        if isinstance(spec, LISpec):
            return LIBoxCell(LIBoxParameters(1.0 - used["decay"], used["v_rest"]), dt=1.0), LIBoxState(v)
        rest = used.get("v_reset", torch.zeros_like(threshold))
        if isinstance(spec, IFSpec):
            return IAFCell(IAFParameters(threshold, rest), dt=1.0), IAFFeedForwardState(v)
        parameters = LIFBoxParameters(
            tau_mem_inv=1.0 / used["tau"],
            v_leak=rest,
            v_th=threshold,
            v_reset=rest,
            reset_method=reset_subtract if "v_reset" not in used else reset_value,
        )
        return LIFBoxCell(parameters, dt=1.0), LIFBoxFeedForwardState(v)
