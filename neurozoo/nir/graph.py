"""A NIR graph as a recipe has it: nodes and edges, without learned weights; needs neither torch nor nir.

The kinds are NIR 1.0.8's (``nir/ir``; Pedersen et al. 2024,
https://doi.org/10.1038/s41467-024-52259-9).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "ARRAYS", "DYNAMIC", "KINDS", "MOST_EDGES", "MOST_NODES", "NEURONS", "WINDOWS",
    "Edge", "Graph", "Kind", "Node", "Shape",
]  # fmt: skip

Kind = Literal[
    "Input", "Output", "Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten",
    "Delay", "Threshold", "I", "LI", "IF", "LIF", "CubaLI", "CubaLIF",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
NEURONS = ("IF", "LIF", "CubaLIF")
"""Kinds that fire and are reset."""
DYNAMIC = ("I", "LI", "CubaLI", *NEURONS)
"""Kinds with a state that follows a differential equation."""

Shape = tuple[int, ...]
Size = Annotated[int, Field(ge=1, le=2**24)]
Pair = tuple[Annotated[int, Field(ge=0, le=2**24)], ...]
# One number for all of a node's elements, or one for each, in the order of memory.
Values = float | tuple[float, ...]
Name = Annotated[str, Field(min_length=1, pattern=r"^[^/]+$")]
Edge = tuple[Name, Name]

MOST_NODES, MOST_EDGES = 10_000, 100_000
"""Of a graph: each node is a module."""
MOST_ELEMENTS = 2**25
"""Of a node's parameters, and of its output for one sample and step."""

ARRAYS: Mapping[str, tuple[str, ...]] = {
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "I": ("r",),
    "LI": ("tau", "r", "v_leak"),
    "IF": ("r", "v_threshold", "v_reset"),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
}
"""Parameters of each kind, one number an element: seconds for tau and delay, else dimensionless."""

WINDOWS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "Conv1d": (1, ("stride", "padding", "dilation")),
    "Conv2d": (2, ("stride", "padding", "dilation")),
    "SumPool2d": (2, ("stride", "padding", "kernel_size")),
    "AvgPool2d": (2, ("stride", "padding", "kernel_size")),
}
"""Of each kind that moves a window: its axes, and its options, a number an axis."""


class Node(BaseModel):
    """A node of a graph.

    Attributes:
        name: Unique in the graph; a node of a graph within the graph is ``outer.inner``.
        kind: NIR's name for it.
        shape: Of Affine, Linear and Conv the weight's, of other kinds that of input and output; pooling and Flatten
            have none.
        values: By parameter of NIR: one number for all elements, or one for each. Seconds or dimensionless.
        stride: Of Conv and pooling, a number an axis.
        padding: The same, or ``same`` or ``valid``.
        dilation: Of Conv.
        groups: Of Conv.
        kernel_size: Of pooling.
        start_dim: Of Flatten: first axis, without the batch.
        end_dim: Of Flatten: last axis.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Name
    kind: Kind
    shape: tuple[Size, ...] | None = None
    values: Mapping[str, Values] = Field(default_factory=dict)
    stride: Pair | None = None
    padding: Pair | Literal["same", "valid"] | None = None
    dilation: Pair | None = None
    groups: Size | None = None
    kernel_size: Pair | None = None
    start_dim: int | None = None
    end_dim: int | None = None

    def to_recipe(self) -> dict[str, Any]:
        """Return what a recipe has of it: the fields that are set."""
        return self.model_dump(mode="json", exclude_none=True, exclude_unset=True)

    @property
    def size(self) -> int:
        """Number of elements of its shape."""
        return math.prod(self._sizes)

    def each(self, parameter: str) -> NDArray[np.float64]:
        """Return one number an element, in its shape; a read-only view of a single number where all have the same."""
        given = np.array(self.values[parameter])
        return given.reshape(self._sizes) if given.size > 1 else np.broadcast_to(given.reshape(()), self._sizes)

    def problems(self) -> Iterator[str]:
        """What is wrong with it, apart from its edges."""
        needed = set(ARRAYS.get(self.kind, ()))
        if missing := sorted(needed - set(self.values)):
            yield f"{self.kind} {self.name!r} lacks {', '.join(missing)}"
        if unknown := sorted(set(self.values) - needed):
            known = ", ".join(sorted(needed)) or "none"
            yield f"{self.kind} {self.name!r} has no {', '.join(unknown)}; it has: {known}"
        if self.shape is None and self.kind not in ("SumPool2d", "AvgPool2d", "Flatten"):
            yield f"{self.kind} {self.name!r} lacks its shape"
            return
        size = self.size
        if size > MOST_ELEMENTS:
            yield f"{self.kind} {self.name!r} has the shape {list(self._sizes)}, more than {MOST_ELEMENTS:,} elements"
            return
        for name, given in self.values.items():
            if isinstance(given, tuple) and len(given) != size:
                yield f"{name} of {self.name!r} has {len(given)} numbers, and its shape has {size} elements"
            numbers = given if isinstance(given, tuple) else (given,)
            if name.startswith("tau") and min(numbers, default=1.0) <= 0:
                yield f"{name} of {self.name!r} is {min(numbers)}; a time constant is longer than 0"
            if name == "delay" and min(numbers, default=0.0) < 0:
                yield f"delay of {self.name!r} is {min(numbers)}; nothing arrives before it is sent"
        wanted = {"Affine": 2, "Linear": 2, "Conv1d": 3, "Conv2d": 4}.get(self.kind)
        if wanted is not None and len(self.shape or ()) != wanted:
            yield f"the weight of {self.name!r} has the shape {list(self.shape or ())}; {self.kind} takes {wanted} axes"
        axes, own = WINDOWS.get(self.kind, (0, ()))
        for name in own:
            given = getattr(self, name)
            if not isinstance(given, str) and (given is None or len(given) != axes):
                yield f"{name} of {self.name!r} is {given}; {self.kind} takes {axes} of it"
            elif name != "padding" and min(given) < 1:
                yield f"{name} of {self.name!r} is {list(given)}; give numbers from 1"
        yield from self._window_problems()

    def _window_problems(self) -> Iterator[str]:
        """What torch does not run of a convolution or a pooling."""
        if self.padding == "same" and any(step != 1 for step in self.stride or ()):
            yield f"{self.name!r} has the padding 'same' and stride {list(self.stride or ())}; 'same' takes stride 1"
        if self.kind.startswith("Conv") and self.shape and self.shape[0] % (self.groups or 1):
            yield f"{self.name!r} makes {self.shape[0]} channels, which {self.groups} groups do not divide"
        if self.kind.endswith("Pool2d") and isinstance(self.padding, tuple) and self.kernel_size:
            for around, width in zip(self.padding, self.kernel_size, strict=False):
                if 2 * around > width:
                    yield (
                        f"padding of {self.name!r} is {list(self.padding)}, more than half of its kernel_size "
                        f"{list(self.kernel_size)}"
                    )
                    break

    @property
    def flattened(self) -> tuple[int, int]:
        """First and last axis of Flatten, counted without the batch."""
        return self.start_dim or 0, -1 if self.end_dim is None else self.end_dim

    def out(self, given: Shape) -> Shape:
        """Return the output's shape of an input's.

        Raises:
            ValueError: The input does not fit; the text has the reason.
        """
        if self.kind in ("Affine", "Linear"):
            rows, columns = self._sizes
            if given[-1:] != (columns,):
                raise ValueError(f"takes {columns} features, and gets {list(given)}")
            return (*given[:-1], rows)
        if self.kind in ("Conv1d", "Conv2d"):
            return self._convolved(given)
        if self.kind in ("SumPool2d", "AvgPool2d"):
            if len(given) != 3:
                raise ValueError(f"takes [channels, height, width], and gets {list(given)}")
            return (given[0], *self._windows(given[1:], self.kernel_size or (), (1, 1)))
        if self.kind == "Flatten":
            return self._flattened(given)
        if given != self._sizes:
            raise ValueError(f"is of shape {list(self._sizes)}, and gets {list(given)}")
        return given

    @property
    def _sizes(self) -> Shape:
        return self.shape or ()

    def _convolved(self, given: Shape) -> Shape:
        axes = len(self._sizes) - 2
        channels = self._sizes[1] * (self.groups or 1)
        if len(given) != axes + 1 or given[0] != channels:
            raise ValueError(f"takes {channels} channels and {axes} axes besides, and gets {list(given)}")
        return (self._sizes[0], *self._windows(given[1:], self._sizes[2:], self.dilation or ()))

    def _windows(self, given: Shape, kernel: Shape, dilation: Shape) -> Shape:
        if self.padding == "same":
            return given
        padding: Shape = self.padding if isinstance(self.padding, tuple) else (0,) * len(given)
        found = tuple(
            (size + 2 * around - reach * (width - 1) - 1) // step + 1
            for size, around, reach, width, step in zip(
                given, padding, dilation, kernel, self.stride or (), strict=True
            )
        )
        if min(found) < 1:
            raise ValueError(f"has a window larger than {list(given)}, which it gets")
        return found

    def _flattened(self, given: Shape) -> Shape:
        first, last = (place + len(given) if place < 0 else place for place in self.flattened)
        if not 0 <= first <= last < len(given):
            raise ValueError(f"flattens axes {self.start_dim} to {self.end_dim}, and gets {list(given)}")
        return (*given[:first], math.prod(given[first : last + 1]), *given[last + 1 :])


@dataclass(frozen=True)
class Graph:
    """Nodes and the edges between them; a node adds up its inputs.

    Attributes:
        nodes: In no order that matters.
        edges: Pairs of names.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, nodes: Sequence[Node | Mapping[str, Any]], edges: Sequence[Sequence[str]]) -> Graph:
        """The graph of a recipe's ``nodes`` and ``edges``."""
        made = tuple(each if isinstance(each, Node) else Node.model_validate(each) for each in nodes)
        return cls(made, tuple((first, second) for first, second in edges))

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """The nodes by their names."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """The sources of each node, sorted, so that sums round the same in any order of the edges."""
        found: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for first, second in self.edges:
            found[second].append(first)
        return {name: tuple(sorted(each)) for name, each in found.items()}

    @property
    def input(self) -> Node:
        """The one node of kind Input."""
        return next(node for node in self.nodes if node.kind == "Input")

    @property
    def output(self) -> Node:
        """The one node of kind Output."""
        return next(node for node in self.nodes if node.kind == "Output")

    @property
    def gives_spikes(self) -> bool:
        """Whether the Output gets spikes alone."""
        return {self.by_name[source].kind for source in self.sources[self.output.name]} <= {*NEURONS, "Threshold"}

    @cached_property
    def components(self) -> tuple[tuple[str, ...], ...]:
        """The strongly connected components in an order in which they can be computed: single nodes and loops.

        The nodes of a loop are in the order of one time step, at which neurons send back what they made before.
        """
        loops = self._loops()
        home = {name: place for place, loop in enumerate(loops) for name in loop}
        outer = {
            place: {home[source] for name in loop for source in self.sources[name]} - {place}
            for place, loop in enumerate(loops)
        }
        return tuple(self._within(loops[place]) for place in TopologicalSorter(outer).static_order())

    def is_loop(self, component: Collection[str]) -> bool:
        """Whether a component's nodes get their own outputs back."""
        return len(component) > 1 or any(name in self.sources[name] for name in component)

    def shapes(self) -> dict[str, Shape]:
        """Return the shape of each node's output.

        Raises:
            ValueError: A node does not fit its inputs.
        """
        found: dict[str, Shape] = {
            node.name: node.shape or () for node in self.nodes if node.kind in ("Input", *DYNAMIC)
        }
        for name in (name for component in self.components for name in component):
            node, given = self.by_name[name], {found[source]: source for source in self.sources[name]}
            if len(given) > 1:
                ways = ", ".join(f"{list(shape)} from {source!r}" for shape, source in given.items())
                raise ValueError(f"{name!r} gets {ways}; what a node adds up must have one shape")
            try:
                found[name] = node.shape or () if node.kind == "Input" else node.out(next(iter(given)))
            except ValueError as error:
                raise ValueError(f"{node.kind} {name!r} {error}") from error
            if math.prod(found[name]) > MOST_ELEMENTS:
                raise ValueError(
                    f"{node.kind} {name!r} makes {list(found[name])}, more than {MOST_ELEMENTS:,} elements"
                )
        return found

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong, as (``nodes`` or ``edges``, problem)."""
        if len(self.nodes) > MOST_NODES or len(self.edges) > MOST_EDGES:
            yield "nodes", f"a graph has at most {MOST_NODES:,} nodes and {MOST_EDGES:,} edges; this one has more"
            return
        yield from (("nodes", problem) for node in self.nodes for problem in node.problems())
        names = Counter(node.name for node in self.nodes)
        yield from (("nodes", f"{name!r} is there {number} times") for name, number in names.items() if number > 1)
        for kind in ("Input", "Output"):
            found = [node.name for node in self.nodes if node.kind == kind]
            if len(found) != 1:
                yield "nodes", f"a graph here has one {kind}, and this one {len(found)}: {', '.join(found) or 'none'}"
                return
        for edge in self.edges:
            for name in edge:
                if name not in self.by_name:
                    yield (
                        "edges",
                        f"{edge[0]!r} -> {edge[1]!r}: there is no node {name!r}; there are: {', '.join(names)}",
                    )
                    return
        if twice := sorted(edge for edge, number in Counter(self.edges).items() if number > 1):
            yield "edges", f"{twice[0][0]!r} -> {twice[0][1]!r} is there twice"
        for node in self.nodes:
            if node.kind == "Input" and self.sources[node.name]:
                yield "edges", f"the Input {node.name!r} gets something from {', '.join(self.sources[node.name])}"
            if node.kind != "Input" and not self.sources[node.name]:
                yield "edges", f"{node.kind} {node.name!r} gets nothing; connect it, or leave it out"
                return
        if any(first == self.output.name for first, _ in self.edges):
            yield "edges", f"the Output {self.output.name!r} passes something on"
        try:
            self.shapes()
        except CycleError as error:
            loop = " -> ".join(error.args[1])
            yield (
                "edges",
                f"{loop} is a loop without a neuron in it; only a neuron (or I, LI, CubaLI) keeps a step apart",
            )
        except ValueError as error:
            yield "nodes", str(error)

    def _within(self, loop: Sequence[str]) -> tuple[str, ...]:
        """A component's nodes in the order of one step."""
        if not self.is_loop(loop):
            return tuple(loop)
        inside = set(loop)
        inner = {
            name: [s for s in self.sources[name] if s in inside and self.by_name[s].kind not in DYNAMIC]
            for name in sorted(loop)
        }
        return tuple(TopologicalSorter(inner).static_order())

    def _loops(self) -> list[list[str]]:
        """Strongly connected components: nodes that reach one another."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        place = {name: index for index, name in enumerate(self.by_name)}
        ends = np.array([(place[first], place[second]) for first, second in self.edges], int).reshape(-1, 2)
        matrix = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(place), len(place)))
        found: dict[int, list[str]] = {}
        for name, label in zip(self.by_name, connected_components(matrix, connection="strong")[1], strict=True):
            found.setdefault(int(label), []).append(name)
        return list(found.values())
