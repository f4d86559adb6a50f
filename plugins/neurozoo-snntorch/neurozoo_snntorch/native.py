"""snnTorch's neurons unchanged, with their own reset, surrogate, ties and input scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snntorch import Leaky, Synaptic, surrogate
from torch import Tensor

from neurozoo.backends.adapters import check_state
from neurozoo.core.kinds import CubaSpec, LIFSpec, SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State
from neurozoo_snntorch.neuron import forgotten

__all__ = ["SnnTorchNativeNeuron"]

_SURROGATES: Mapping[str, Callable[[float], Any]] = {
    "atan": surrogate.atan,
    "sigmoid": surrogate.sigmoid,
    "superspike": surrogate.fast_sigmoid,
}
"""snnTorch's function for each of the core's names."""


class SnnTorchNativeNeuron(Neuron):
    """The neuron that a user of snnTorch gets: another model.

    ``Leaky(beta=1 - 1/tau)`` of LIF, ``Leaky(beta=1)`` of IF, ``Synaptic`` of CUBA, with the reset mechanism ``zero``
    or ``subtract``. The reset comes a step late, detached, and by the threshold of that step; the input is added as it
    is, whatever ``decay_input`` and ``gain`` say; and it is silent where the membrane equals the threshold.

    The membrane in its state is the one that snnTorch returns, before its late reset.
    """

    kinds = ("lif", "if", "cuba")
    runs = "snntorch: Leaky and Synaptic with their reset, snntorch.surrogate"
    graph_breaks = True  # as its adapter

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        if (reason := super().refusal(spec)) or not isinstance(spec, SpikingSpec):
            return reason
        if spec.surrogate not in _SURROGATES:
            return (
                f"snnTorch has no surrogate {spec.surrogate!r}; choose one of {', '.join(_SURROGATES)}, or use the "
                "backend 'snntorch'"
            )
        if v_reset := spec.parameters.get("v_reset"):
            return (
                f"snnTorch resets to 0 or by the threshold, and v_reset is {v_reset}; "
                "set it to 0 or null, or use the backend 'snntorch'"
            )
        return ""

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        check_state(state, current)
        # They keep membrane and threshold as buffers, so that one lasts for a step.
        module = self._module(threshold, self.spec.complete(params)).to(current.device)
        spikes, *after = module(current, *state)
        return spikes, tuple(after)

    def _module(self, threshold: Tensor | float, params: Params) -> Any:
        spec = self.spec
        assert isinstance(spec, SpikingSpec)
        options = {
            "threshold": threshold,
            "spike_grad": _SURROGATES[spec.surrogate](spec.alpha),
            "reset_mechanism": "zero" if "v_reset" in params else "subtract",
        }
        if isinstance(spec, CubaSpec):
            return forgotten(Synaptic(alpha=params["synapse_decay"], beta=params["membrane_decay"], **options))
        return forgotten(Leaky(beta=1 - 1 / params["tau"] if isinstance(spec, LIFSpec) else 1.0, **options))
