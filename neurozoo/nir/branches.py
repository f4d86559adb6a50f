"""A spiking branch as a NIR graph: what the format can say of it, at one fixed threshold.

A LIF node of NIR obeys ``tau dv/dt = (v_leak - v) + R I`` and fires where ``v > v_threshold`` (Pedersen et al. 2024,
https://doi.org/10.1038/s41467-024-52259-9, and ``nir/ir/neuron.py``). Euler's step of length dt makes of it

    h = v + (dt / tau) ((v_leak - v) + R I)

which is the membrane of :func:`neurozoo.core.equations.charge` where ``tau`` is its own times dt, ``v_leak`` its rest,
and R is 1, or its tau where the input is not decayed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.kinds import LIFSpec
from neurozoo.errors import UserError

__all__ = ["Stage", "below", "branch_graph", "described", "neurons_in_order", "read_graph", "up_to", "write_graph"]

SPIKING = (nir.LIF, nir.IF, nir.CubaLIF)


@dataclass(frozen=True)
class Stage:
    """An affine map and the neurons that it drives.

    Attributes:
        weight: ``[N, M]``, dimensionless.
        bias: ``[N]``; None for none.
        spec: The neurons.
    """

    weight: Tensor
    bias: Tensor | None
    spec: LIFSpec


def branch_graph(
    stages: Sequence[Stage], *, dt: float, threshold: float, fold: bool, metadata: Mapping[str, Any]
) -> nir.NIRGraph:
    """``Input -> Affine -> LIF -> ... -> Output``.

    A neuron of NIR fires above its threshold. Where ours fires at it, ``v_threshold`` is the largest float32 below.

    Args:
        stages: In order.
        dt: Length of a time step in seconds.
        threshold: Of all neurons, dimensionless.
        fold: Whether weights and biases take up threshold and resistance, so that a neuron fires at 1 with R = 1. A
            scalar threshold is a gain: all that is a voltage is divided by it.
        metadata: Texts and numbers that go with the graph.

    Raises:
        UserError: ``dt`` or ``threshold`` is not a positive number.
    """
    for name, value, unit in (("dt", dt, "seconds, such as 1e-3"), ("threshold", threshold, "the membrane's unit")):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} is {value}; give a positive number, in {unit}")
    scale = threshold if fold else 1.0
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array([stages[0].weight.shape[1]])})}
    for number, stage in enumerate(stages, start=1):
        spec = stage.spec
        rest = spec.v_reset or 0.0
        resistance = 1.0 if spec.decay_input else spec.tau
        gain, left = (resistance / scale, 1.0) if fold else (1.0, resistance)
        level = below(threshold / scale) if spec.tie == "fires" else np.float32(threshold / scale)
        size = stage.weight.shape[0]
        bias = np.zeros(size, np.float32) if stage.bias is None else _scaled(stage.bias, gain)
        nodes[f"affine_{number}"] = nir.Affine(_scaled(stage.weight, gain), bias)
        nodes[f"lif_{number}"] = nir.LIF(
            tau=np.full(size, spec.tau * dt),
            r=np.full(size, left),
            v_leak=np.full(size, rest / scale),
            v_threshold=np.full(size, float(level)),
            v_reset=np.full(size, rest / scale),
        )
    nodes["output"] = nir.Output({"output": np.array([stages[-1].weight.shape[0]])})
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), dict(metadata))


def write_graph(path: Path, graph: nir.NIRGraph) -> None:
    """Write a .nir file.

    Raises:
        OSError: It cannot be written.
    """
    nir.write(path, graph)


def read_graph(path: Path) -> nir.NIRGraph:
    """Read a .nir file that :func:`write_graph` wrote."""
    return nir.read(path)


def described(graph: nir.NIRGraph) -> tuple[str, ...]:
    """Each node with its size, such as ``Affine 30 -> 128``."""
    found = []
    for node in graph.nodes.values():
        sizes = ["x".join(map(str, next(iter(kind.values())))) for kind in (node.input_type, node.output_type)]
        found.append(f"{type(node).__name__} {' -> '.join(dict.fromkeys(sizes))}")
    return tuple(found)


def neurons_in_order(graph: nir.NIRGraph) -> list[str]:
    """The names of a graph's neurons that fire, nearest to its input first."""
    reached = [*graph.inputs]
    for name in reached:  # which grows
        reached += [after for before, after in graph.edges if before == name and after not in reached]
    return [name for name in reached if isinstance(graph.nodes[name], SPIKING)]


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


def _scaled(tensor: Tensor, gain: float) -> NDArray[np.float32]:
    """A tensor's float32 array times a number, rounded once."""
    array = tensor.detach().cpu().numpy()
    return np.asarray(array if gain == 1.0 else array.astype(np.float64) * gain, np.float32)


def below(threshold: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 below the float32 that is nearest to ``threshold``."""
    return np.asarray(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
