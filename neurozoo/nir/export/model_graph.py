"""A traced model as a NIR graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.errors import UserError
from neurozoo.nir.export.neuron_node import neuron_node
from neurozoo.nir.export.tracing import Link, Traced

__all__ = ["level_of", "model_graph"]


def model_graph(traced: Traced, *, dt: float, metadata: Mapping[str, Any]) -> nir.NIRGraph:
    """A node for each weight, each layer of neurons and each pooling; recurrent weights are a loop.

    Args:
        traced: The model, its normalisation folded.
        dt: Length of a step, in seconds.
        metadata: Texts and numbers that go with the graph.

    Raises:
        UserError: NIR cannot say a layer; names it.
    """
    graph = _Growing()
    graph.add("input", nir.Input({"input": np.array(traced.links[0].given)}))
    ends: list[str] = []
    for link in traced.links:
        at = "input" if link.source is None else ends[link.source]
        at = _flattened(graph, at, link, traced)
        ends.append(_layer(graph, at, link, dt) if isinstance(link.module, SpikingLayer) else _node(graph, at, link))
    graph.add("output", nir.Output({"output": np.array(traced.links[-1].made)}), ends[-1])
    return nir.NIRGraph(graph.nodes, graph.edges, dict(metadata))


def level_of(name: str, firing: Firing) -> Tensor | float:
    """The threshold of a layer's neurons, a number or one that broadcasts against them.

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


def _flattened(graph: _Growing, at: str, link: Link, traced: Traced) -> str:
    """The node whose output a link gets, behind a Flatten where it gets that as one axis.

    Raises:
        UserError: It gets it in another shape.
    """
    made = link.given if link.source is None else traced.links[link.source].made
    if link.given == made:
        return at
    if link.given != (int(np.prod(made)),):
        raise UserError(
            f"{link.name}: gets {list(link.given)} of what is {list(made)}, and NIR has no node for such a change of "
            "shape; it flattens"
        )
    return graph.numbered("flatten", nir.Flatten({"input": np.array(made)}, 0, -1), at)


def _layer(graph: _Growing, at: str, link: Link, dt: float) -> str:
    """Synapse, neurons, and what comes back; returns the neurons."""
    layer, firing = link.layer, link.fired
    if layer.synapse is not None:
        at = _weights(graph, at, f"{link.name}.synapse", layer.synapse, link.given)
    made = neuron_node(
        link.name,
        layer.spec,
        layer.params(),
        link.made,
        dt=dt,
        threshold=level_of(link.name, firing),
        gain=layer.gain,
    )
    neurons = graph.numbered(type(made).__name__.lower(), made, at)
    if layer.recurrent is not None:
        back = graph.numbered("w_rec", nir.Linear(_array(layer.returning())), neurons)
        graph.edges.append((back, neurons))
    return neurons


def _node(graph: _Growing, at: str, link: Link) -> str:
    """A module that stands alone."""
    module = link.module
    if isinstance(module, nn.AvgPool2d):
        if module.ceil_mode or module.divisor_override is not None or not module.count_include_pad:
            raise UserError(
                f"{link.name}: NIR's AvgPool2d has no ceil_mode, divisor_override or count_include_pad=False"
            )
        sizes = (module.kernel_size, module.stride, module.padding)
        return graph.numbered("avgpool", nir.AvgPool2d(*(np.array(_pair(size)) for size in sizes)), at)
    return _weights(graph, at, link.name, module, link.given)


def _weights(graph: _Growing, at: str, name: str, module: nn.Module, given: tuple[int, ...]) -> str:
    """The node of a linear or a convolution.

    Raises:
        UserError: It is something else.
    """
    if isinstance(module, nn.Linear) and len(given) == 1:
        weight = _array(module.weight)
        if module.bias is None:
            return graph.numbered("linear", nir.Linear(weight), at)
        return graph.numbered("affine", nir.Affine(weight, _array(module.bias)), at)
    if type(module) in (nn.Conv1d, nn.Conv2d) and module.padding_mode == "zeros":
        assert isinstance(module, nn.Conv1d | nn.Conv2d)
        one = isinstance(module, nn.Conv1d)
        bias = np.zeros(module.out_channels, np.float32) if module.bias is None else _array(module.bias)
        sizes = {key: getattr(module, key) for key in ("stride", "padding", "dilation")}
        sizes = {key: size[0] if one and not isinstance(size, str) else size for key, size in sizes.items()}
        arguments = {"weight": _array(module.weight), "bias": bias, "groups": module.groups, **sizes}
        if one:
            return graph.numbered("conv", nir.Conv1d(input_shape=given[1], **arguments), at)
        return graph.numbered("conv", nir.Conv2d(input_shape=given[1:], **arguments), at)
    raise UserError(
        f"{name}: NIR has no node for {type(module).__name__} on positions of {list(given)}; it has linears, "
        "convolutions with padding by zeros, and normalisation that is folded into them"
    )


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size, size)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32)
