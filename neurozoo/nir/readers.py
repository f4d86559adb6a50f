"""A library's own reader of NIR, to compare what it makes of a graph; ``Neuron.nir_reader`` hands it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

__all__ = ["NIRReader", "ReadGraph"]


@dataclass(frozen=True)
class ReadGraph:
    """A NIR graph as a library's own reader took it.

    Attributes:
        run: Output ``[T, B, M]`` of currents ``[T, B, N]``, from rest at each call; float32, dimensionless.
        notes: What that library leaves out of account in such a graph, in words, with the file and function.
    """

    run: Callable[[Tensor], Tensor]
    notes: tuple[str, ...] = ()


class NIRReader(ABC):
    """Has a library read a NIR graph by its own reader, to compare what it makes of it."""

    requires: ClassVar[tuple[str, ...]] = ("nir",)
    """Import names of the libraries that it needs, whose versions a comparison tells."""

    @abstractmethod
    def read(self, graph: Any, *, dt: float, reset: Literal["value", "subtract"]) -> ReadGraph:
        """The graph as the library takes it; what it has an option for is passed on.

        Args:
            graph: A ``nir.NIRGraph`` for this call alone, which may be changed.
            dt: Length of a time step, in seconds.
            reset: Whether a spike sets the membrane to ``v_reset`` or takes the threshold from it; NIR does not say.
        """
