"""Read a .nir file as a graph and the arrays that it learned.

The file may be a stranger's: it is opened in a limited process (``neurozoo.data.untrusted``), and checked here.
The format is that of nir 1.0.8 (``nir/serialization.py``): a group ``node`` with a text ``type`` and the node's
arrays; of a graph the group ``nodes`` and the pairs of names ``edges``. The library itself is not used: its check of
shapes refuses grouped convolutions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import DataError
from neurozoo.files.opening import sha256_of
from neurozoo.files.text import as_text, printable
from neurozoo.nir.graph import ARRAYS, KINDS, MOST_EDGES, MOST_NODES, WINDOWS, Graph, Node, Shape
from neurozoo.recipe.messages import explain

__all__ = ["NIRFile", "read_nir"]

Array = NDArray[np.float32]

LEARNED: Mapping[str, tuple[str, ...]] = {
    "Affine": ("weight", "bias"),
    "Linear": ("weight",),
    "Conv1d": ("weight", "bias"),
    "Conv2d": ("weight", "bias"),
    "Scale": ("scale",),
}
"""The arrays of each kind that learn."""
DEFAULTS = {"v_reset": 0.0, "w_in": 1.0}
"""Parameters that a file may leave out."""
MOST_CONSTANTS = 2**16
"""Neurons of a layer with different constants, each of which is a number in the recipe."""


@dataclass(frozen=True)
class NIRFile:
    """Content of a .nir file.

    Attributes:
        name: Of the file, without its ending.
        graph: Nodes and edges, those of graphs within it too.
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
        DataError: It is missing, damaged, no graph of NIR, or holds what cannot be run; names the node.
    """
    tree = read_hdf5(path)
    try:
        root = _group(tree.get("node"), "the file's 'node'")
        if (kind := _kind(root, "the file's 'node'")) != "NIRGraph":
            raise ValueError(f"holds a {kind} and no graph; export the whole network")
        flat = _Flat()
        flat.add(root)
        unknown = [f"{name!r} is a {kind}" for name, (kind, _) in flat.nodes.items() if kind not in KINDS]
        if unknown:
            more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
            raise ValueError(
                f"{', '.join(unknown[:3])}{more}: such nodes cannot be run here; there are: {', '.join(KINDS)}"
            )
        flat.skip_borders()
        read = {name: _node(name, kind, fields) for name, (kind, fields) in flat.nodes.items()}
        found = _with_input(flat, [node for node, _ in read.values()])
        if wrong := [problem for _, problem in found.problems()]:
            raise ValueError("; ".join(wrong[:3]))
        metadata = dict(_texts(root.get("metadata") or {}))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    weights = {name: learned for name, (_, learned) in read.items() if learned}
    return NIRFile(path.stem, found, weights, metadata, sha256_of(path))


class _Flat:
    """Nodes by name, those of a graph within the graph as ``outer.inner``, and the edges between them."""

    def __init__(self) -> None:
        self.nodes: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self.after: dict[str, dict[str, None]] = {}  # ordered sets
        self.before: dict[str, dict[str, None]] = {}
        self.borders: list[str] = []
        self._seen = self._edges = 0

    def add(self, graph: Mapping[str, Any], prefix: str = "") -> None:
        """Add a graph's nodes and edges; edges to and from a graph within it are those of its Input and Output."""
        where = f"the graph {prefix[:-1]!r}" if prefix else "the graph"
        nodes = _group(graph.get("nodes"), f"'nodes' of {where}")
        kinds = {}
        for each, content in nodes.items():
            name = prefix + as_text(each, f"a node of {where}", error=_Wrong)
            fields = _group(content, f"the node {name!r}")
            kinds[each] = kind = _kind(fields, f"the node {name!r}")
            self._seen += 1
            if self._seen > MOST_NODES:
                raise ValueError(f"has more than {MOST_NODES:,} nodes, the most that can be run")
            if kind == "NIRGraph":
                self.add(fields, f"{name}.")
                continue
            if name in self.nodes:
                raise ValueError(f"the node {name!r} is there twice, once within another graph; rename one")
            self.nodes[name] = kind, fields
            if prefix and kind in ("Input", "Output"):
                self.borders.append(name)
        for first, second in _pairs(graph.get("edges"), where):
            for begin in self._ends(nodes, kinds, prefix, first, "Output"):
                for end in self._ends(nodes, kinds, prefix, second, "Input"):
                    self.connect(begin, end)

    def connect(self, first: str, second: str) -> None:
        """Add an edge."""
        if second in self.after.setdefault(first, {}):
            raise ValueError(f"{first!r} -> {second!r} is there twice")
        self._edges += 1
        if self._edges > MOST_EDGES:
            raise ValueError(f"has more than {MOST_EDGES:,} edges, the most that can be run")
        self.after[first][second] = self.before.setdefault(second, {})[first] = None

    def skip_borders(self) -> None:
        """Remove the Inputs and Outputs of inner graphs, and connect the nodes on their two sides."""
        for border in self.borders:
            del self.nodes[border]
            into, out = self.before.pop(border, {}), self.after.pop(border, {})
            if border in into:
                raise ValueError(f"{border!r} is in a loop without a neuron in it")
            for first in into:
                del self.after[first][border]
            for second in out:
                del self.before[second][border]
            for first in into:
                for second in out:
                    self.connect(first, second)

    def edges(self) -> list[tuple[str, str]]:
        """All edges, sorted."""
        return sorted((first, second) for first, others in self.after.items() for second in others)

    def _ends(
        self, nodes: Mapping[str, Any], kinds: Mapping[str, str], prefix: str, name: str, border: str
    ) -> list[str]:
        """The nodes that an edge to or from ``name`` is of."""
        if kinds.get(name) != "NIRGraph":
            return [prefix + name]
        inner = (f"{prefix}{name}.{each}" for each in nodes[name]["nodes"])
        found = [each for each in inner if each in self.nodes and self.nodes[each][0] == border]
        if not found:
            raise ValueError(f"the graph {prefix + name!r} has no {border}, and an edge that needs it")
        return found


class _Wrong(DataError, ValueError):
    """Text that is none, within a file whose name is not known here."""


def _node(name: str, kind: str, fields: Mapping[str, Any]) -> tuple[Node, dict[str, Array]]:
    """A node, and its arrays that learn."""
    try:
        given: dict[str, Any] = {"name": name, "kind": kind}
        learned = {parameter: _learned(fields, parameter) for parameter in LEARNED.get(kind, ())}
        if kind in ("Input", "Output"):
            given["shape"] = _whole(fields, "shape")
        elif learned:
            given["shape"] = shape = learned["scale" if kind == "Scale" else "weight"].shape
            if "bias" in learned:
                learned["bias"] = _spread(learned["bias"], shape[:1], "bias")
        elif kind in ARRAYS:
            arrays = {each: _numbers(fields, each, DEFAULTS.get(each)) for each in ARRAYS[kind]}
            given["shape"] = shape = _common_shape(arrays)
            given["values"] = {each: _constants(each, array, shape) for each, array in arrays.items()}
        axes, options = WINDOWS.get(kind, (0, ()))
        for option in options:
            value = fields.get(option)
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            numbers = text if isinstance(text, str) else _whole(fields, option)
            given[option] = numbers * axes if isinstance(numbers, tuple) and len(numbers) == 1 else numbers
        for option in ("groups",) if kind.startswith("Conv") else ("start_dim", "end_dim") if kind == "Flatten" else ():
            (given[option],) = _whole(fields, option, axes=1)
        return Node.model_validate(given), learned
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{kind} {name!r}: {first['loc'][0]}: {explain(first)}") from error
    except ValueError as error:
        raise ValueError(f"{kind} {name!r}: {error}") from error


def _with_input(flat: _Flat, nodes: list[Node]) -> Graph:
    """The graph; a node that gets nothing is preceded by an Input, as the library does it when it writes."""
    edges = flat.edges()
    if not any(node.kind == "Input" for node in nodes):
        for node in [node for node in nodes if not flat.before.get(node.name)]:
            taken = {each.name for each in nodes}
            name = next(each for n in range(len(taken) + 1) if (each := f"input_{node.name}{n or ''}") not in taken)
            if shape := _taken(node, flat.nodes[node.name][1]):
                nodes = [*nodes, Node(name=name, kind="Input", shape=shape)]
                edges.append((name, node.name))
    return Graph(tuple(nodes), tuple(sorted(edges)))


def _taken(node: Node, fields: Mapping[str, Any]) -> Shape | None:
    """The shape of a node's input, if the file has it."""
    shape = node.shape or ()
    if node.kind in ("Affine", "Linear"):
        return shape[1:]
    if node.kind.startswith("Conv"):
        size = fields.get("input_shape")
        return None if size is None else (shape[1] * (node.groups or 1), *_whole(fields, "input_shape"))
    return shape or None


def _group(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} is {'missing' if value is None else 'no group'}; give a file that nir.write wrote")
    return value


def _kind(fields: Mapping[str, Any], what: str) -> str:
    if fields.get("type") is None:
        raise ValueError(f"{what} has no type; give a file that nir.write wrote")
    return printable(as_text(fields["type"], f"the type of {what}", error=_Wrong))[:100]


def _pairs(edges: Any, where: str) -> Iterator[tuple[str, str]]:
    """Pairs of names of an array ``[E, 2]``; no edges are an array of shape ``[0]``."""
    array = np.asarray([] if edges is None else edges)
    if array.size and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"the edges of {where} have the shape {list(array.shape)}; they are pairs of names, [E, 2]")
    for pair in array.tolist():
        first, second = (as_text(each, f"an edge of {where}", error=_Wrong) for each in pair)
        yield first, second


def _numbers(fields: Mapping[str, Any], parameter: str, default: float | None = None) -> NDArray[Any]:
    value = fields.get(parameter, default)
    if value is None:
        raise ValueError(f"lacks {parameter}")
    array = np.asarray(value)
    if isinstance(value, Mapping) or array.dtype.kind not in "iuf":
        raise ValueError(f"its {parameter} holds no numbers")
    return array


def _whole(fields: Mapping[str, Any], parameter: str, axes: int | None = None) -> tuple[int, ...]:
    array = _numbers(fields, parameter).reshape(-1)
    if (
        array.size > 8
        or axes not in (None, array.size)
        or not (np.isfinite(array).all() and (array == array // 1).all())
    ):
        wanted = "whole numbers, one an axis" if axes is None else "a whole number"
        raise ValueError(f"its {parameter} is {np.array2string(array, threshold=8)}; give {wanted}")
    return tuple(int(each) for each in array)


def _learned(fields: Mapping[str, Any], parameter: str) -> Array:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        array = np.array(_numbers(fields, parameter), np.float32)
    return _finite(parameter, array)


def _finite(parameter: str, array: Array) -> Array:
    if not np.isfinite(array).all():
        raise ValueError(f"its {parameter} has numbers that are not finite in float32")
    return array


def _spread(array: Array, shape: Shape, parameter: str) -> Array:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"its {parameter} has the shape {list(array.shape)}, and its weight needs {list(shape)}"
        ) from None


def _common_shape(arrays: Mapping[str, NDArray[Any]]) -> Shape:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ValueError(f"its parameters have different shapes: {shapes}") from None


def _constants(parameter: str, array: NDArray[Any], shape: Shape) -> float | tuple[float, ...]:
    """One number where all elements have the same, else one for each."""
    with np.errstate(over="ignore"):
        _finite(parameter, np.asarray(array, np.float32))
    if array.size and (array == array.flat[0]).all():
        return float(array.flat[0])
    if np.prod(shape) > MOST_CONSTANTS:
        raise ValueError(
            f"its {parameter} differs between more than {MOST_CONSTANTS:,} neurons, the most that can be run"
        )
    return tuple(np.broadcast_to(array, shape).astype(float).reshape(-1).tolist())


def _texts(metadata: Any) -> Iterable[tuple[str, str]]:
    """Metadata as texts; arrays are shortened."""
    for key, value in _group(metadata, "'metadata'").items():
        name = as_text(key, "a key of the metadata", error=_Wrong)
        if isinstance(value, Mapping | type(None)) or getattr(value, "ndim", False):
            yield name, str(value)[:1000]
        elif isinstance(value, str) and not value:
            yield name, ""
        else:
            yield name, as_text(value, f"the metadata's {name!r}", error=_Wrong)
