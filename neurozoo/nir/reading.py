"""A .nir file as a graph and the arrays that it learned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from neurozoo.errors import DataError
from neurozoo.nir.graph import ARRAYS, KINDS, WINDOWS, Graph, Node
from neurozoo.recipe.messages import explain

__all__ = ["NIRFile", "read_nir"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class NIRFile:
    """What a .nir file holds.

    Attributes:
        name: Of the file, without its ending.
        graph: Its nodes and edges, those of graphs within it among them.
        weights: By node, then by ``weight``, ``bias`` or ``scale``: what learns.
        metadata: Of the outermost graph, as text.
        sha256: Of the file, hexadecimal.
    """

    name: str
    graph: Graph
    weights: Mapping[str, Mapping[str, Array]]
    metadata: Mapping[str, str]
    sha256: str


def read_nir(path: Path) -> NIRFile:
    """Read a .nir file.

    Raises:
        DataError: It is missing or damaged, or holds what cannot be run; the text says which node.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give a .nir file")
    try:
        graph = nir.read(path)
    except Exception as error:  # the library has no error of its own: it raises what h5py, numpy and Python do
        raise DataError(
            f"{path}: cannot be read as NIR ({type(error).__name__}: {error}); "
            f"give a .nir file that nir {nir.version} reads"
        ) from error
    if not isinstance(graph, nir.NIRGraph):
        raise DataError(f"{path}: holds a {type(graph).__name__} and no graph; export the whole network")
    unknown = sorted({type(node).__name__ for _, node in _flat_nodes(graph) if type(node).__name__ not in KINDS})
    if unknown:
        raise DataError(
            f"{path}: has nodes of the kind {', '.join(unknown)}, which cannot be run here; "
            f"there are: {', '.join(KINDS)}"
        )
    nodes, weights = [], {}
    for name, node in _flat_nodes(graph):
        try:
            made, learned = _node(name, node)
        except ValidationError as error:
            problem = explain(error.errors()[0])
            raise DataError(f"{path}: {type(node).__name__} {name!r}: {problem}") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: {type(node).__name__} {name!r}: {error}") from error
        nodes.append(made)
        if learned:
            weights[name] = learned
    found = Graph(tuple(nodes), tuple(sorted(_flat_edges(graph))))
    wrong = list(found.problems())
    if wrong:
        raise DataError(f"{path}: {'; '.join(problem for _, problem in wrong)}")
    metadata = {str(key): str(_plain(value)) for key, value in (graph.metadata or {}).items()}
    return NIRFile(path.stem, found, weights, metadata, hashlib.sha256(path.read_bytes()).hexdigest())


def _flat_nodes(graph: nir.NIRGraph, prefix: str = "") -> Iterator[tuple[str, nir.NIRNode]]:
    """Every node with its name, those of inner graphs as ``outer.inner``, without inner graphs' Input and Output."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _flat_nodes(node, f"{prefix}{name}.")
        elif not prefix or not isinstance(node, nir.Input | nir.Output):
            yield prefix + name, node


def _flat_edges(graph: nir.NIRGraph) -> list[tuple[str, str]]:
    """Every edge between the nodes of :func:`_flat_nodes`: what inner graphs' Input and Output pass on, past them."""
    edges = list(_all_edges(graph, ""))
    for border in _borders(graph, ""):
        into = [first for first, second in edges if second == border]
        out = [second for first, second in edges if first == border]
        edges = [edge for edge in edges if border not in edge] + [(first, second) for first in into for second in out]
    return edges


def _all_edges(graph: nir.NIRGraph, prefix: str) -> Iterator[tuple[str, str]]:
    """Every edge, those to and from an inner graph at its Input and Output."""
    for first, second in graph.edges:
        yield from (
            (begin, end)
            for begin in _ends(graph, first, prefix, nir.Output)
            for end in _ends(graph, second, prefix, nir.Input)
        )
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _all_edges(node, f"{prefix}{name}.")


def _ends(graph: nir.NIRGraph, name: str, prefix: str, kind: type) -> list[str]:
    node = graph.nodes.get(name)
    if not isinstance(node, nir.NIRGraph):
        return [prefix + name]
    return [f"{prefix}{name}.{inner}" for inner, each in node.nodes.items() if isinstance(each, kind)]


def _borders(graph: nir.NIRGraph, prefix: str) -> Iterator[str]:
    """The Problem and Outputs of inner graphs."""
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _borders(node, f"{prefix}{name}.")
        elif prefix and isinstance(node, nir.Input | nir.Output):
            yield prefix + name


def _node(name: str, node: nir.NIRNode) -> tuple[Node, dict[str, Array]]:
    kind = type(node).__name__
    given: dict[str, Any] = {"name": name, "kind": kind}
    learned: dict[str, Array] = {}
    if kind in ("Input", "Output"):
        shape = (node.input_type if kind == "Input" else node.output_type)["input" if kind == "Input" else "output"]
        given["shape"] = _whole(shape)
    elif kind in ("Affine", "Linear", "Conv1d", "Conv2d"):
        weight = _float32(node.weight)
        given["shape"], learned["weight"] = weight.shape, weight
        if kind != "Linear":
            learned["bias"] = np.broadcast_to(_float32(node.bias), weight.shape[:1])
    elif kind == "Scale":
        learned["scale"] = _float32(node.scale)
        given["shape"] = learned["scale"].shape
    elif kind in ARRAYS:
        arrays = {
            parameter: np.asarray(getattr(node, parameter)) for parameter in ARRAYS[kind] if _has(node, parameter)
        }
        if kind in ("IF", "LIF", "CubaLIF") and "v_reset" not in arrays:
            arrays["v_reset"] = np.zeros_like(arrays["v_threshold"])
        given["shape"] = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        given["values"] = {parameter: _values(parameter, array, given["shape"]) for parameter, array in arrays.items()}
    axes, own = WINDOWS.get(kind, (0, ()))
    for option in own:
        value = _plain(getattr(node, option))
        given[option] = value if isinstance(value, str) else _whole(np.broadcast_to(value, (axes,)))
    if kind.startswith("Conv"):
        given["groups"] = int(node.groups)
    if kind == "Flatten":
        given["start_dim"], given["end_dim"] = int(node.start_dim), int(node.end_dim)
    for parameter, array in learned.items():
        if not np.isfinite(array).all():
            raise ValueError(f"its {parameter} has numbers that are not finite in float32")
    return Node.model_validate(given), learned


def _float32(numbers: Any) -> Array:
    """What is too large becomes infinite, and is refused as that."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float32)


def _has(node: nir.NIRNode, parameter: str) -> bool:
    return getattr(node, parameter, None) is not None


def _values(parameter: str, array: NDArray[Any], shape: tuple[int, ...]) -> float | tuple[float, ...]:
    if not np.isfinite(_float32(array)).all():
        raise ValueError(f"its {parameter} has numbers that are not finite in float32")
    numbers = tuple(float(each) for each in np.broadcast_to(array, shape).reshape(-1))
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _whole(sizes: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in np.atleast_1d(sizes))


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode() if isinstance(value, bytes) else value
