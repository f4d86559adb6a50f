"""Interface of libraries' own readers of NIR, which ``Neuron.nir_reader`` returns; exports are compared with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

__all__ = ["NIRReader", "ReadGraph", "stepwise"]


@dataclass(frozen=True)
class ReadGraph:
    """A NIR graph as a library's own reader read it.

    Attributes:
        run: Output ``[T, B, M]`` of currents ``[T, B, N]``, from rest at each call; float32, dimensionless.
        notes: What that library ignores in such a graph, in words, with the file and function.
    """

    run: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()


def stepwise(module: Any, reset: Callable[[], object] = lambda: None) -> Callable[[Tensor], Tensor]:
    """Return a function that runs a library's module ``(current, state) -> (output, state)`` over ``[T, B, N]``.

    Args:
        module: The library's module; it starts from rest if the state is None.
        reset: Called before each run, for modules that keep their state.
    """

    @torch.no_grad()
    def run(currents: Tensor) -> Tensor:
        reset()
        state, outputs = None, []
        for current in currents.unbind(0):
            output, state = module(current, state)
            outputs.append(output)
        return torch.stack(outputs)

    return run


class NIRReader(ABC):
    """Reads NIR graphs with a library's own reader."""

    requires: ClassVar[tuple[str, ...]] = ("nir",)
    """Import names of the libraries it needs, whose versions a comparison shows."""

    @abstractmethod
    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        """Read a graph; settings for which the library has an option are passed on.

        Args:
            graph: A ``nir.NIRGraph`` for this call alone, which may be changed.
            dt: Length of a time step, in seconds.
            reset: Whether a spike sets the membrane to ``v_reset`` or subtracts the threshold; NIR has no field for it.
        """
