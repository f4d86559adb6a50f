"""NIR graphs as snnTorch itself reads them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any, Literal

from snntorch import SpikingNeuron
from snntorch.import_nir import import_from_nir

from neurozoo.nir.readers import NIRReader, ReadGraph, stepwise

__all__ = ["SnnTorchReader"]

ASSUMED_DT = 1e-4
"""The step, in seconds, that snnTorch's reader takes every graph to have."""
_WHERE = "snntorch/import_nir.py, _nir_to_snntorch_module"


class SnnTorchReader(NIRReader):
    """``import_from_nir(graph)``, with time constants scaled to the step that it assumes.

    Only ``tau / dt`` of a neuron matters, so the scaled graph is the same one for another step.
    """

    requires = ("snntorch", "nir", "nirtorch")

    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        notes = tuple(_left_out(graph, dt, reset))
        for node in _neurons(graph):
            node.tau = node.tau * (ASSUMED_DT / dt)
        known = list(SpikingNeuron.instances)
        with redirect_stdout(io.StringIO()):  # it prints what it does
            module = import_from_nir(graph)
        # Every instance is kept in a list of the library's, which would be a leak.
        SpikingNeuron.instances[:] = known

        def reset_membranes() -> None:  # they are kept on the module
            for each in module.modules():
                if isinstance(each, SpikingNeuron):
                    each.reset_mem()

        return ReadGraph(stepwise(module, reset_membranes), notes)


def _neurons(graph: Any) -> list[Any]:
    return [node for node in graph.nodes.values() if type(node).__name__ == "LIF"]


def _left_out(graph: Any, dt: float, reset: str) -> Iterator[str]:
    neurons = _neurons(graph)
    if neurons and dt != ASSUMED_DT:
        yield (
            f"snnTorch takes dt for {ASSUMED_DT:g} s, without an option ({_WHERE}; jeshraghian/snntorch#435 adds one), "
            f"so it was given {ASSUMED_DT / dt:g} times the file's time constants"
        )
    if neurons and reset == "subtract":
        yield f"snnTorch resets every LIF node to zero ({_WHERE})"
    if any((node.v_reset != 0).any() for node in neurons):
        yield f"snnTorch takes v_reset for 0 in LIF nodes ({_WHERE})"
