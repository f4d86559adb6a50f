"""NIR graphs as Norse itself reads them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

from neurozoo.nir.readers import NIRReader, ReadGraph, stepwise

with warnings.catch_warnings():
    # Norse compiles some functions with torch.jit.script at import.
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from norse.torch.functional.reset import reset_subtract, reset_value
    from norse.torch.utils.import_nir import from_nir

__all__ = ["NorseReader"]

_WHERE = "norse/torch/utils/import_nir.py, _import_norse_module"


class NorseReader(NIRReader):
    """``from_nir(graph, dt=dt, reset_method=...)``."""

    requires = ("norse", "nir")

    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        method = reset_subtract if reset == "subtract" else reset_value
        with warnings.catch_warnings():
            # It builds on a function of NIRTorch's that is to be replaced.
            warnings.filterwarnings("ignore", message="nirtorch.load", category=DeprecationWarning)
            module = from_nir(graph, ignore_warnings=True, reset_method=method, dt=dt)
        return ReadGraph(stepwise(module), tuple(_left_out(graph, reset)))


def _left_out(graph: Any, reset: str) -> Iterator[str]:
    neurons = [node for node in graph.nodes.values() if type(node).__name__ == "LIF"]
    if neurons and reset == "subtract":
        yield f"Norse does not hand its option reset_method on to LIF nodes: they reset to 0 ({_WHERE})"
    if any((node.r != 1).any() for node in neurons):
        yield f"Norse takes r for 1 in LIF nodes ({_WHERE}); --fold puts it into the weights"
    if any((node.v_reset != 0).any() for node in neurons):
        yield f"Norse takes v_reset for 0 in LIF nodes ({_WHERE})"
