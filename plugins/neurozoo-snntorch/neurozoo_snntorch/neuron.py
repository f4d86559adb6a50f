"""Neurons built from snnTorch's ``Leaky`` and ``Synaptic``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from snntorch import Leaky, SpikingNeuron, Synaptic
from torch import Tensor

from neurozoo.core.equations import reset, spike
from neurozoo.core.kinds import CubaSpec, LIFSpec, LISpec, PLIFSpec, SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, State, check_params, steps_of
from neurozoo.errors import SpikingError

if TYPE_CHECKING:
    from neurozoo_snntorch.nir_reader import SnnTorchReader

__all__ = ["SnnTorchNeuron", "forgotten", "scalar"]


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
        if reason := super().refusal(spec):
            return reason
        if isinstance(spec, CubaSpec):
            what = {
                "fires after it is charged, and order is fire-first": spec.order != "charge-first",
                f"adds the current as it is, and gain is {spec.gain}": spec.gain != 1.0,
                f"rests at 0, and v_reset is {spec.v_reset}": bool(spec.v_reset),
            }
            for words, so in what.items():
                if so:
                    return f"snnTorch's Synaptic {words}; change it, or use another backend, such as torch"
        return ""

    @classmethod
    def nir_reader(cls) -> SnnTorchReader:
        from neurozoo_snntorch.nir_reader import SnnTorchReader

        return SnnTorchReader()

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        used = self.spec.complete(params)
        return self._step(self._module(used), current, state, threshold, used)

    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        thresholds = steps_of(threshold, currents)
        used = check_params(self.spec.complete(params), currents)
        carried = self.initial_state(currents[0], used) if state is None else state
        module = self._module(used)
        outputs: list[Tensor] = []
        for current, level in zip(currents.unbind(0), thresholds, strict=True):
            output, carried = self._step(module, current, carried, level, used)
            outputs.append(output)
        return torch.stack(outputs), carried

    def _step(
        self, module: Any, current: Tensor, state: State, threshold: Tensor | float, params: Params
    ) -> tuple[Tensor, State]:
        for each in state:
            if each.shape != current.shape:  # Leaky would silently start from zeros
                raise SpikingError(
                    f"a state of shape {list(each.shape)} does not fit a step's current of shape "
                    f"{list(current.shape)}; give one membrane a neuron, or None to start from rest"
                )
        # A view, for a module would register a Parameter, and then take nothing else under that name.
        module.threshold = threshold.view_as(threshold) if isinstance(threshold, Tensor) else scalar(threshold)
        s, *others, h = module(self._drive(current, params), *state)
        if isinstance(self.spec, LISpec):
            return h, (h,)
        assert isinstance(self.spec, SpikingSpec)
        seen = s.detach() if self.spec.detach_reset else s
        return s, (*others, reset(h, seen, threshold, params.get("v_reset")))

    def _drive(self, current: Tensor, params: Params) -> Tensor:
        """What is added to the leaking membrane: the scaled current, and what the leak to another rest than 0 adds."""
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
            return forgotten(Leaky(beta=scalar(_kept(spec, params)), **options))
        if given := [name for name in ("gain", "v_reset") if isinstance(params.get(name), Tensor)]:
            raise SpikingError(
                f"snnTorch's Synaptic adds the current as it is and rests at 0, and "
                f"{given[0]} was given as a tensor; leave it out, or use another backend, such as torch"
            )
        decays = {"alpha": scalar(params["synapse_decay"]), "beta": scalar(params["membrane_decay"])}
        return forgotten(Synaptic(**decays, **options))


def _kept(spec: NeuronSpec, params: Params) -> Tensor | float:
    """The share of a membrane that a step keeps."""
    if isinstance(spec, LIFSpec):
        return 1 - 1 / params["tau"]
    if isinstance(spec, PLIFSpec):
        return 1 - params["leak"]
    return params["decay"] if isinstance(spec, LISpec) else 1.0


def forgotten(module: Any) -> Any:
    """The module, out of the library's list of every instance: that is for its init_hidden mode, and here a leak."""
    if module in SpikingNeuron.instances:
        SpikingNeuron.instances.remove(module)
    return module


def scalar(value: Tensor | float) -> Tensor:
    """A number as a 0-d tensor of full precision, which takes part in any dtype and on any device."""
    return value.view_as(value) if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
