"""A graph and its weights as NIR has them: the way back from :mod:`neurozoo.nir.reading`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neurozoo.nir.graph import ARRAYS, Graph, Node, Shape

__all__ = ["nir_graph"]


def nir_graph(
    graph: Graph, weights: Mapping[str, Mapping[str, NDArray[np.float32]]], metadata: Mapping[str, Any]
) -> nir.NIRGraph:
    """A graph for the library to write, flat as it was read.

    Args:
        graph: Nodes and edges.
        weights: By node, then by ``weight``, ``bias`` or ``scale``.
        metadata: Texts and numbers that go with it.
    """
    makes = graph.shapes()
    nodes = {}
    for node in graph.nodes:
        sources = graph.sources[node.name]
        nodes[node.name] = _node(node, weights.get(node.name, {}), makes[sources[0]] if sources else ())
    return nir.NIRGraph(nodes, list(graph.edges), dict(metadata))


def _node(node: Node, learned: Mapping[str, NDArray[np.float32]], given: Shape) -> nir.NIRNode:
    """A node of NIR, of what the node gets in shape ``given``."""
    if node.kind in ("Input", "Output"):
        side = node.kind.lower()
        return getattr(nir, node.kind)({side: np.array(node.shape)})
    arguments: dict[str, Any] = dict(learned)
    for name in ARRAYS.get(node.kind, ()):
        arguments[name] = np.reshape(node.each(name), node.shape or ())
    if node.kind in ("Conv1d", "Conv2d"):
        # Of one axis NIR has a number, of two a pair.
        one = node.kind == "Conv1d"
        arguments["input_shape"] = given[1] if one else given[1:]
        for name in ("stride", "padding", "dilation"):
            value = getattr(node, name)
            arguments[name] = value[0] if one and not isinstance(value, str) else value
        arguments["groups"] = node.groups
    elif node.kind in ("SumPool2d", "AvgPool2d"):
        arguments |= {name: np.array(getattr(node, name)) for name in ("kernel_size", "stride", "padding")}
    elif node.kind == "Flatten":
        arguments |= {"input_type": {"input": np.array(given)}, "start_dim": node.start_dim, "end_dim": node.end_dim}
    return getattr(nir, node.kind)(**arguments)
