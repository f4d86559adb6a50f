"""NIR graphs as SpikingJelly itself reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from spikingjelly.activation_based.nir_exchange import import_from_nir
from torch import Tensor

from neurozoo.nir.readers import NIRReader, ReadGraph

__all__ = ["SpikingJellyReader"]


class SpikingJellyReader(NIRReader):
    """``import_from_nir(graph, dt=dt)``."""

    requires = ("spikingjelly", "nir", "nirtorch")

    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        notes = tuple(_left_out(graph, reset))
        module = import_from_nir(graph, dt=dt)

        @torch.no_grad()
        def run(currents: Tensor) -> Tensor:
            state, outputs = None, []
            for current in currents.unbind(0):
                output, state = module(current, state)
                outputs.append(output)
            return torch.stack(outputs)

        return ReadGraph(run, notes)


def _left_out(graph: Any, reset: str) -> Iterator[str]:
    if reset == "subtract" and any(type(node).__name__ == "LIF" for node in graph.nodes.values()):
        yield (
            "SpikingJelly resets every LIF node to v_reset, without an option "
            "(spikingjelly/activation_based/nir_exchange/from_nir.py, _NodeMapper.map_lif)"
        )
