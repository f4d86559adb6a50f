"""A traced model as a NIR graph: a node for each weight and each layer of neurons, refused by name where NIR has none.

NIR's neurons obey differential equations (Pedersen et al. 2024, https://doi.org/10.1038/s41467-024-52259-9, and
``nir/ir/neuron.py``) and fire above their threshold. With ``a = dt / tau`` Euler's step of these equations is

======= ================================================================================
LIF     ``v + a (v_leak - v + R x)``
IF      ``v + dt R x``
LI      as LIF, without a spike
CubaLIF ``i + a_syn (w_in x - i)``, then ``v + a_mem (v_leak - v + R i)``
======= ================================================================================

So LIF is :func:`neurozoo.core.equations.charge` with ``tau`` times dt as time constant, the resting value as
``v_leak``, and R = 1, or ``tau`` where the input is not decayed. A decay ``d`` a step is the time constant
``dt / (1 - d)``. Where our neurons fire at their threshold, ``v_threshold`` is the largest float32 below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from neurozoo.core.kinds import CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec
from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.neuron import NeuronSpec
from neurozoo.errors import UserError
from neurozoo.nir.export.tracing import INPUT, Link, Traced
from neurozoo.nir.export.watching import Later
from neurozoo.nn.delays import DelayedLinear, NormalisedDelays
from neurozoo.nn.synapses import PooledSynapse

__all__ = ["level_of", "model_graph", "neuron_names"]


_WHY = {
    "adlif": "whose recovery current adapts to their membrane and spikes",
    "alif": "whose threshold adapts to their spikes",
}
"""What NIR's neurons lack, by kind."""


def model_graph(traced: Traced, *, dt: float, metadata: Mapping[str, Any], fold: bool = False) -> nir.NIRGraph:
    """Return a graph with a node for each weight, layer of neurons and pooling; recurrent weights are a loop.

    Args:
        traced: The model, its normalisation folded.
        dt: Length of a step, in seconds.
        metadata: Texts and numbers that go with the graph.
        fold: Whether weights and biases take up threshold and resistance, so that a neuron fires at 1 with R = 1. A
            fixed threshold is a gain: everything that is a voltage is divided by it.

    Raises:
        UserError: NIR has no node for a layer, which is named.
    """
    graph = _Growing()
    graph.add("input", nir.Input({"input": np.array(traced.links[0].given)}))
    ends: list[str] = []
    for link in traced.links:
        at = _flattened(graph, ["input" if source == INPUT else ends[source] for source in link.sources], link, traced)
        if isinstance(link.module, SpikingLayer):
            ends.append(_layer(graph, at, link, dt, fold))
        elif isinstance(link.module, nn.MaxPool2d):
            ends.append(_max_pool(graph, at, link, traced))
        else:
            ends.append(_node(graph, at, link, dt))
    graph.add("output", nir.Output({"output": np.array(traced.links[traced.end].made)}), ends[traced.end])
    return nir.NIRGraph(graph.nodes, graph.edges, dict(metadata))


def level_of(name: str, firing: Firing) -> Tensor | float:
    """Return the threshold of a layer's neurons, a number or a tensor that broadcasts against them.

    Raises:
        UserError: Samples or steps have thresholds of their own.
    """
    level = firing.threshold
    if not isinstance(level, Tensor) or level.dim() == 0:
        return level
    if not bool((level == level[:1, :1]).all()):
        raise UserError(f"{name}: its threshold differs between samples or steps, and NIR has fixed ones")
    return level[0, 0]


class _Growing:
    """Nodes and edges so far; a node's name is its kind and a number."""

    def __init__(self) -> None:
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: nir.NIRNode, *sources: str) -> str:
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return name

    def numbered(self, kind: str, node: nir.NIRNode, *sources: str) -> str:
        number = sum(name.rpartition("_")[0] == kind for name in self.nodes) + 1
        return self.add(f"{kind}_{number}", node, *sources)


def neuron_names(traced: Traced) -> list[str]:
    """Return the names of the graph's nodes of neurons that fire, in the order of the model's layers."""
    found: list[str] = []
    for link in traced.neurons:
        kind = {"if": "if", "cuba": "cubalif"}.get(link.layer.spec.kind, "lif")
        found.append(f"{kind}_{sum(name.rpartition('_')[0] == kind for name in found) + 1}")
    return found


def _flattened(graph: _Growing, at: Sequence[str], link: Link, traced: Traced) -> Sequence[str]:
    """The nodes whose outputs a link gets, with a Flatten if needed; UserError for another change of shape."""
    for source in link.sources:
        made = link.given if source == INPUT else traced.links[source].made
        if link.given == made:
            continue
        if link.given != (int(np.prod(made)),):
            raise UserError(
                f"{link.name}: gets {list(link.given)} of what is {list(made)}, and NIR has no node for such a change "
                "of shape; it flattens"
            )
        return [graph.numbered("flatten", nir.Flatten({"input": np.array(made)}, 0, -1), *at)]
    return at


def _layer(graph: _Growing, at: Sequence[str], link: Link, dt: float, fold: bool) -> str:
    """Synapse, neurons, and what comes back; returns the neurons."""
    layer = link.layer
    if layer.synapse is not None:
        at = [_weights(graph, at, f"{link.name}.synapse", layer.synapse, link.given)]
    made = _neurons(link, dt)
    if fold:
        _fold(made, graph.nodes[at[0]], link)
    neurons = graph.numbered(type(made).__name__.lower(), made, *at)
    if layer.recurrent is not None:
        back = graph.numbered("w_rec", nir.Linear(_array(layer.returning())), neurons)
        graph.edges.append((back, neurons))
    return neurons


def _fold(neurons: nir.NIRNode, weights: nir.NIRNode, link: Link) -> None:
    """Divide what is a voltage by the threshold, and put the resistance into the weights ``[N, M]``."""
    level, ones = _numbers(level_of(link.name, link.fired), link.made), np.ones(link.made)
    gain = neurons.r / level
    # In float64, so that each weight is rounded once.
    weights.weight = np.asarray(weights.weight.astype(np.float64) * gain[:, None], np.float32)
    if isinstance(weights, nir.Affine):
        weights.bias = np.asarray(weights.bias.astype(np.float64) * gain, np.float32)
    neurons.v_threshold = _firing_above(ones, link.layer.spec)
    neurons.r, neurons.v_leak, neurons.v_reset = ones, neurons.v_leak / level, neurons.v_reset / level


def _neurons(link: Link, dt: float) -> nir.NIRNode:
    """The node of a layer's neurons; UserError where NIR has none."""
    name, layer, spec, shape = link.name, link.layer, link.layer.spec, link.made
    if isinstance(spec, CubaSpec) and spec.order == "fire-first":
        raise UserError(
            f"{name}: cuba neurons of the order fire-first spike before they are charged and lose that charge, and "
            "NIR's CubaLIF spikes after it; export a run with cuba neurons of the order charge-first, "
            "model.parts.neuron=cuba"
        )
    if not isinstance(spec, LIFSpec | IFSpec | PLIFSpec | CubaSpec | LISpec):
        why = f", {_WHY[spec.kind]}" if spec.kind in _WHY else ""
        raise UserError(
            f"{name}: NIR has no node for {spec.kind} neurons{why}; it has one for lif, if, plif, cuba and li; export "
            "a run with such neurons"
        )
    values = {key: _numbers(value, shape) for key, value in spec.complete(layer.params()).items()}
    if isinstance(spec, LISpec):
        share = _leak(name, "decay", values["decay"])
        return nir.LI(tau=dt / share, r=values["gain"] / share, v_leak=values["v_rest"])
    level = _numbers(level_of(name, link.fired), shape)
    rest = values.get("v_reset", np.zeros(shape)) * (level if layer.gain else 1.0)
    voltages: Mapping[str, Any] = {
        "v_threshold": _firing_above(level, spec),
        "v_reset": rest,
    }
    if isinstance(spec, IFSpec):
        return nir.IF(r=np.full(shape, 1 / dt), **voltages)
    if isinstance(spec, CubaSpec):
        synapse = _leak(name, "synapse_decay", values["synapse_decay"])
        membrane = _leak(name, "membrane_decay", values["membrane_decay"])
        return nir.CubaLIF(
            tau_syn=dt / synapse,
            tau_mem=dt / membrane,
            r=values["gain"] / membrane,
            v_leak=rest,
            w_in=1 / synapse,
            **voltages,
        )
    if isinstance(spec, PLIFSpec) and (values["leak"] <= 0).any():
        raise UserError(f"{name}: its leak is 0 for some neurons, and NIR's LIF has one")
    tau = values["tau"] if isinstance(spec, LIFSpec) else 1 / values["leak"]
    return nir.LIF(tau=tau * dt, r=np.ones(shape) if spec.decay_input else tau, v_leak=rest, **voltages)


def _leak(name: str, what: str, decay: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share lost in a step; UserError where nothing is, which no time constant can say."""
    if (decay >= 1).any():
        raise UserError(f"{name}: its {what} is 1 for some neurons, which then have no leak, and NIR's node has one")
    return 1 - decay


def _node(graph: _Growing, at: Sequence[str], link: Link, dt: float) -> str:
    """A module that stands alone."""
    module = link.module
    if isinstance(module, Later):
        return graph.numbered("delay", nir.Delay(np.full(link.made, module.steps * dt)), *at)
    if isinstance(module, nn.AvgPool2d):
        if module.ceil_mode or module.divisor_override is not None or not module.count_include_pad:
            raise UserError(
                f"{link.name}: NIR's AvgPool2d has no ceil_mode, divisor_override or count_include_pad=False"
            )
        return graph.numbered("avgpool", nir.AvgPool2d(*_window(module)), *at)
    return _weights(graph, at, link.name, module, link.given)


def _max_pool(graph: _Growing, at: Sequence[str], link: Link, traced: Traced) -> str:
    """Max pooling of spikes: there is one in a window if their sum is above a half. UserError for anything else.

    NIR has no max pooling (``nir/ir``, 1.0.8), but sums and a threshold.
    """
    module = link.module
    assert isinstance(module, nn.MaxPool2d)
    sources = [traced.links[source] for source in link.sources if source != INPUT]
    spikes = len(sources) == len(link.sources) == 1 and (
        isinstance(sources[0].module, nn.MaxPool2d) or sources[0] in traced.neurons
    )
    if not spikes:
        names = ", ".join(each.name for each in sources) or "the input"
        raise UserError(
            f"{link.name}: NIR has no max pooling; that of one layer's spikes becomes a sum and a threshold, and this "
            f"is of other numbers, those of {' + '.join(names.split(', '))}; export a model with average pooling"
        )
    if module.ceil_mode or module.return_indices or _pair(module.dilation) != (1, 1):
        raise UserError(f"{link.name}: a max pool with ceil_mode, indices or dilation is no sum of NIR")
    total = graph.numbered("sumpool", nir.SumPool2d(*_window(module)), *at)
    return graph.numbered("threshold", nir.Threshold(np.full(link.made, 0.5)), total)


def _window(module: nn.AvgPool2d | nn.MaxPool2d) -> list[NDArray[np.int64]]:
    """Edges, stride and padding of a pool."""
    stride = module.kernel_size if module.stride is None else module.stride
    return [np.array(_pair(size)) for size in (module.kernel_size, stride, module.padding)]


def _weights(graph: _Growing, at: Sequence[str], name: str, module: nn.Module, given: tuple[int, ...]) -> str:
    """The node of a linear or a convolution; UserError for anything else."""
    if isinstance(module, nn.Linear) and len(given) == 1:
        weight = _array(module.weight)
        if module.bias is None:
            return graph.numbered("linear", nir.Linear(weight), *at)
        return graph.numbered("affine", nir.Affine(weight, _array(module.bias)), *at)
    if type(module) in (nn.Conv1d, nn.Conv2d) and module.padding_mode == "zeros":
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        one = isinstance(module, nn.Conv1d)
        bias = np.zeros(module.out_channels, np.float32) if module.bias is None else _array(module.bias)
        sizes = {key: getattr(module, key) for key in ("stride", "padding", "dilation")}
        sizes = {key: size[0] if one and not isinstance(size, str) else size for key, size in sizes.items()}
        arguments = {"weight": _array(module.weight), "bias": bias, "groups": module.groups, **sizes}
        if one:
            return graph.numbered("conv", nir.Conv1d(input_shape=given[1], **arguments), *at)
        return graph.numbered("conv", nir.Conv2d(input_shape=given[1:], **arguments), *at)
    if isinstance(module, DelayedLinear | NormalisedDelays):
        raise UserError(
            f"{name}: each of its synapses has a delay, and NIR's Delay has one for each neuron; export a model "
            "without delays"
        )
    if isinstance(module, PooledSynapse):
        raise UserError(
            f"{name}: NIR has no max pooling, and this is of currents, before the neurons; it has average pooling"
        )
    raise UserError(
        f"{name}: NIR has no node for {type(module).__name__} on positions of {list(given)}; it has linears, "
        "convolutions with padding by zeros, and normalisation that is folded into them"
    )


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size, size)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)


def _numbers(value: Tensor | float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One number a neuron."""
    number = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else np.asarray(value, np.float64)
    return np.broadcast_to(number, shape).copy()


def _firing_above(level: NDArray[np.float64], spec: NeuronSpec) -> NDArray[np.float32]:
    """The threshold of neurons that fire above it: just below the level, where ours fire at the level."""
    nearest = level.astype(np.float32)
    return np.nextafter(nearest, np.float32(-np.inf)) if getattr(spec, "tie", "fires") == "fires" else nearest
