"""NIR graphs as SpikingJelly itself reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from spikingjelly.activation_based.nir_exchange import import_from_nir

from neurozoo.nir.readers import NIRReader, ReadGraph, stepwise

__all__ = ["SpikingJellyReader"]


class SpikingJellyReader(NIRReader):
    """``import_from_nir(graph, dt=dt)``."""

    requires = ("spikingjelly", "nir", "nirtorch")

    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        notes = tuple(_left_out(graph, reset))
        module = import_from_nir(graph, dt=dt)
        return ReadGraph(stepwise(module), notes)


def _left_out(graph: Any, reset: str) -> Iterator[str]:
    if reset == "subtract" and any(type(node).__name__ == "LIF" for node in graph.nodes.values()):
        yield (
            "SpikingJelly resets every LIF node to v_reset, without an option "
            "(spikingjelly/activation_based/nir_exchange/from_nir.py, _NodeMapper.map_lif)"
        )
