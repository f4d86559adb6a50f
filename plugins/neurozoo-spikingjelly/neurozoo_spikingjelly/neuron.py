"""Neurons built from SpikingJelly's nodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from neurozoo.backends.adapters import check_plain_cuba, check_state, plain_cuba_refusal
from neurozoo.core.equations import spike
from neurozoo.core.kinds import CubaSpec, LIFSpec, PLIFSpec, SpikingSpec
from neurozoo.core.neuron import Neuron, NeuronSpec, Params, PlainNetwork, State, check_params, steps_of


def _drop(_record: logging.LogRecord) -> bool:
    return False


# SpikingJelly registers its operators at the first call, and without Triton torch logs a warning for each: so the first
# call is here. A filter, as torch resets the levels of its loggers when it is imported.
_logger = logging.getLogger("torch._library.triton")
_logger.addFilter(_drop)
try:
    from spikingjelly.activation_based import surrogate
    from spikingjelly.activation_based.neuron import CUBALIFNode, IFNode, LIFNode, ParametricLIFNode

    for _node in (LIFNode(), IFNode(), ParametricLIFNode()):
        _node(torch.zeros(1, 1))
finally:
    _logger.removeFilter(_drop)

if TYPE_CHECKING:
    from neurozoo_spikingjelly.nir_reader import SpikingJellyReader

__all__ = ["SpikingJellyNeuron"]

_CUBA_NODE = "SpikingJelly's CUBALIFNode"


class SpikingJellyNeuron(Neuron):
    """LIF, IF, PLIF and CUBA by SpikingJelly.

    Its operator (on a GPU, its kernels) runs LIF and IF whose threshold and parameters are numbers, its reference path
    in plain torch runs the others: the operator takes no tensors, and gives them no gradient.

    A node is made for each call and run through its functional form, state in and state out. Nothing of a call is left
    on anything, so the neuron can be copied, pickled and shared.
    """

    kinds = ("lif", "if", "plif", "cuba")
    runs = (
        "spikingjelly.activation_based: neuron.LIFNode, neuron.IFNode, neuron.ParametricLIFNode, neuron.CUBALIFNode, "
        "surrogate.ATan, surrogate.Sigmoid"
    )

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__(spec)
        assert isinstance(spec, SpikingSpec)  # of one of the kinds
        self._known: Any = spec
        self._stock, self._reference = _surrogates(spec)

    @classmethod
    def refusal(cls, spec: NeuronSpec) -> str:
        return super().refusal(spec) or plain_cuba_refusal(spec, _CUBA_NODE)

    @classmethod
    def nir_reader(cls) -> SpikingJellyReader:
        from neurozoo_spikingjelly.nir_reader import SpikingJellyReader

        return SpikingJellyReader()

    @classmethod
    def plain_networks(cls) -> Mapping[str, PlainNetwork]:
        from neurozoo_spikingjelly.plain import NETWORKS

        return NETWORKS

    def step(
        self, current: Tensor, state: State, threshold: Tensor | float, params: Params | None = None
    ) -> tuple[Tensor, State]:
        spikes, after = self._run(current.unsqueeze(0), state, threshold, self.spec.complete(params))
        return spikes.squeeze(0), after

    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        thresholds = steps_of(threshold, currents)
        used = check_params(self.spec.complete(params), currents)
        start = self.initial_state(currents[0], used) if state is None else state
        if any(level is not thresholds[0] for level in thresholds):
            return super().scan(currents, start, threshold, used)
        return self._run(currents, start, thresholds[0], used)

    def _run(self, currents: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        """All steps at one threshold."""
        check_state(state, currents[0])
        # The operator takes numbers only, and no empty batch.
        stock = currents.numel() > 0 and not any(isinstance(each, Tensor) for each in (threshold, *params.values()))
        node = self._node(params, stock)
        node.v_threshold = threshold  # its constructor accepts a float only, and of the next two
        if "v_reset" in params:
            node.v_reset = params["v_reset"] if isinstance(params["v_reset"], Tensor) else float(params["v_reset"])
        node.detach_reset = self._known.detach_reset
        if not isinstance(self._known, CubaSpec):
            (spikes,), after = node.multi_step_functional_forward((currents,), state)
            return spikes, after
        carried, fired = state[::-1], []
        for current in currents.unbind(0):
            (out,), carried = node.single_step_functional_forward((current,), carried)
            fired.append(out)
        return torch.stack(fired), carried[::-1]

    def _node(self, params: Params, stock: bool) -> Any:
        spec, function = self._known, self._stock if stock else self._reference
        v_reset = None if spec.v_reset is None else 0.0
        if isinstance(spec, LIFSpec):
            node = LIFNode(decay_input=spec.decay_input, v_reset=v_reset, surrogate_function=function, step_mode="m")
            node.tau = params["tau"] if isinstance(params["tau"], Tensor) else float(params["tau"])
        elif isinstance(spec, PLIFSpec):
            node = _PLIFNode(spec.decay_input, v_reset, self._reference)
            node.w = _Leak(params["leak"])
        elif isinstance(spec, CubaSpec):
            check_plain_cuba(params, _CUBA_NODE)
            node = CUBALIFNode(v_reset=v_reset, surrogate_function=self._reference)
            node.c_decay, node.v_decay = params["synapse_decay"], params["membrane_decay"]
        else:
            node = IFNode(v_reset=v_reset, surrogate_function=function, step_mode="m")
        return node


class _PLIFNode(ParametricLIFNode):  # type: ignore[misc]
    """Its node without the Parameter that its constructor makes, which torch.compile cannot trace."""

    def __init__(self, decay_input: bool, v_reset: float | None, surrogate_function: torch.nn.Module) -> None:
        super(ParametricLIFNode, self).__init__(1.0, v_reset, surrogate_function, step_mode="m")
        self.decay_input = decay_input


class _Leak:
    """A leak in place of a node's ``w``; the node uses its sigmoid."""

    def __init__(self, leak: Tensor | float) -> None:
        self._leak = leak

    def sigmoid(self) -> Tensor | float:
        return self._leak


# SpikingJelly runs its operator if the surrogate is exactly one of its own classes, and plain torch for all others,
# subclasses included.


class _ReferenceATan(surrogate.ATan): ...  # type: ignore[misc]


class _ReferenceSigmoid(surrogate.Sigmoid): ...  # type: ignore[misc]


class _Core(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
    """A surrogate that SpikingJelly lacks, or silent ties. Its own SuperSpike is ``alpha / (1 + |u|)^2``."""

    def __init__(self, spec: SpikingSpec) -> None:
        super().__init__(alpha=spec.alpha)
        self.spec = spec

    def forward(self, x: Tensor) -> Tensor:
        return spike(x, self.spec.surrogate, self.spec.alpha, self.spec.tie)


def _surrogates(spec: SpikingSpec) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The surrogate for the operator and the one for the reference path."""
    if spec.tie == "fires" and spec.surrogate == "atan":
        return surrogate.ATan(spec.alpha), _ReferenceATan(spec.alpha)
    if spec.tie == "fires" and spec.surrogate == "sigmoid":
        return surrogate.Sigmoid(spec.alpha), _ReferenceSigmoid(spec.alpha)
    own = _Core(spec)
    return own, own
