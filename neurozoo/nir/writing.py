"""Graphs of the library nir: made of ours, written, described, and cut after a node."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from neurozoo.nir.graph import ARRAYS, Graph, Node, Shape

__all__ = ["described", "file_content", "nir_graph", "read_graph", "up_to"]


def nir_graph(
    graph: Graph, weights: Mapping[str, Mapping[str, NDArray[np.float32]]], metadata: Mapping[str, Any]
) -> nir.NIRGraph:
    """Return a graph for the library to write, flat.

    Args:
        graph: Nodes and edges.
        weights: By node, then by ``weight``, ``bias`` or ``scale``.
        metadata: Texts and numbers.
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
        arguments[name] = node.each(name).copy()
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


def file_content(graph: nir.NIRGraph) -> bytes:
    """Return the bytes of a .nir file. It is made in memory: HDF5 crashes if a disk is full."""
    with BytesIO() as file:
        nir.write(file, graph)
        return file.getvalue()


def read_graph(path: Path) -> nir.NIRGraph:
    """Read a .nir file of one's own, such as an export; of others' see :mod:`neurozoo.nir.reading`."""
    return nir.read(path)


def described(graph: nir.NIRGraph) -> tuple[str, ...]:
    """Each node with its size, such as ``Affine 30 -> 128``."""
    found = []
    for node in graph.nodes.values():
        sizes = ["x".join(map(str, next(iter(kind.values())))) for kind in (node.input_type, node.output_type)]
        found.append(f"{type(node).__name__} {' -> '.join(dict.fromkeys(sizes))}")
    return tuple(found)


def up_to(graph: nir.NIRGraph, last: str) -> nir.NIRGraph:
    """A new graph of the nodes that one of them depends on, whose output is the graph's."""
    kept = [last]
    for name in kept:  # which grows
        kept += [before for before, after in graph.edges if after == name and before not in kept]
    (output,) = graph.outputs
    nodes = {name: node for name, node in graph.nodes.items() if name in kept}
    nodes[output] = nir.Output({"output": graph.nodes[last].output_type["output"]})
    edges = [(before, after) for before, after in graph.edges if before in kept and after in kept]
    copied: nir.NIRGraph = nir.NIRGraph.from_dict(
        {
            "nodes": {name: node.to_dict() for name, node in nodes.items()},
            "edges": [*edges, (last, output)],
            "type": "NIRGraph",
        }
    )
    return copied
