"""Neurons built from snnTorch's ``Leaky`` and ``Synaptic``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from snntorch import Leaky, SpikingNeuron, Synaptic
from torch import Tensor

from neurozoo.backends.adapters import check_plain_cuba, check_state, plain_cuba_refusal
from neurozoo.core.equations import reset, spike
from neurozoo.core.kinds import CubaSpec, LIFSpec, LISpec, PLIFSpec, SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, PlainNetwork, State

if TYPE_CHECKING:
    from neurozoo_snntorch.nir_reader import SnnTorchReader

__all__ = ["SnnTorchNeuron", "forgotten"]

_SYNAPTIC = "snnTorch's Synaptic"


class SnnTorchNeuron(Neuron):
    """LIF, PLIF, IF and LI by snnTorch's ``Leaky``, CUBA by its ``Synaptic``, which integrate and fire.

    The reset is applied outside: theirs come a step late, are detached, and apply the new threshold to the old
    membrane. Their leak is ``beta v + x`` with ``beta = 1 - 1/tau``, the same number as the oracle's but for rounding:
    the backend is inexact. They clamp their decays to between 0 and 1.

    A Leaky is made for each call, because it keeps the last membrane and threshold as buffers.
    """

    kinds = ("lif", "plif", "if", "cuba", "li")
    runs = "snntorch: Leaky, Synaptic"
    graph_breaks = True  # Leaky's constructor branches on a tensor

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        return super().refusal(spec) or plain_cuba_refusal(spec, _SYNAPTIC)

    @classmethod
    def nir_reader(cls) -> SnnTorchReader:
        from neurozoo_snntorch.nir_reader import SnnTorchReader

        return SnnTorchReader()

    @classmethod
    def plain_networks(cls) -> Mapping[str, PlainNetwork]:
        from neurozoo_snntorch.plain import NETWORKS

        return NETWORKS

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        return self.stepper(self.spec.complete(params))(current, state, threshold)

    def stepper(self, params: Params) -> Callable[[Tensor, State, Tensor | float], tuple[Tensor, State]]:
        return partial(self._step, self._module(params), params)

    def _step(
        self, module: Any, params: Params, current: Tensor, state: State, threshold: Tensor | float
    ) -> tuple[Tensor, State]:
        check_state(state, current)
        # A view, for a module would register a Parameter, and then take nothing else under that name.
        module.threshold = _scalar(threshold)
        s, *others, h = module(self._drive(current, params), *state)
        if isinstance(self.spec, LISpec):
            return h, (h,)
        assert isinstance(self.spec, SpikingSpec)
        seen = s.detach() if self.spec.detach_reset else s
        return s, (*others, reset(h, seen, threshold, params.get("v_reset")))

    def _drive(self, current: Tensor, params: Params) -> Tensor:
        """The increment of the leaking membrane: the scaled current, and the leak towards a rest other than 0."""
        spec, rest = self.spec, params.get("v_reset", 0.0)
        if isinstance(spec, LIFSpec):
            tau = params["tau"]
            return (current + rest) / tau if spec.decay_input else current + rest / tau
        if isinstance(spec, PLIFSpec):
            leak = params["leak"]
            return leak * (current + rest) if spec.decay_input else current + leak * rest
        if isinstance(spec, LISpec):
            return params["gain"] * current + (1 - params["decay"]) * params["v_rest"]
        return current

    def _module(self, params: Params) -> Any:
        """snnTorch's neuron with these parameters."""
        spec = self.spec
        options: dict[str, Any] = {"reset_mechanism": "none"}
        if isinstance(spec, SpikingSpec):
            # snnTorch's own surrogates are silent where the membrane equals the threshold, return
            # float32 whatever comes in, and its sigmoid overflows far below the threshold.
            options["spike_grad"] = partial(spike, surrogate=spec.surrogate, alpha=spec.alpha, tie=spec.tie)
        if not isinstance(spec, CubaSpec):
            return forgotten(Leaky(beta=_scalar(_kept(spec, params)), **options))
        check_plain_cuba(params, _SYNAPTIC)
        decays = {"alpha": _scalar(params["synapse_decay"]), "beta": _scalar(params["membrane_decay"])}
        return forgotten(Synaptic(**decays, **options))


def _kept(spec: NeuronSpec, params: Params) -> Tensor | float:
    """The share of a membrane that a step keeps."""
    if isinstance(spec, LIFSpec):
        return 1 - 1 / params["tau"]
    if isinstance(spec, PLIFSpec):
        return 1 - params["leak"]
    return params["decay"] if isinstance(spec, LISpec) else 1.0


def forgotten(module: Any) -> Any:
    """Remove a module from the library's list of all instances, which would keep it in memory."""
    if module in SpikingNeuron.instances:
        SpikingNeuron.instances.remove(module)
    return module


def _scalar(value: Tensor | float) -> Tensor:
    """A number as a 0-d tensor of full precision, which combines with any dtype and device."""
    return value.view_as(value) if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
