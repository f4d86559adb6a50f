"""The shape of a signal; without torch, so that data sets can be listed quickly."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

__all__ = ["SignalShape"]


@dataclass(frozen=True)
class SignalShape:
    """The shape of one signal of a data set.

    Attributes:
        shape: Axes of one position: ``(D,)``, ``(C, H, W)``, ``()`` for token numbers.
        length: Largest number of positions L; 1 for a picture.
        dtype: Name of the dtype that a batch holds, such as ``float32``, ``uint8``, ``int64``.
        ragged: Whether samples differ in length, so that batches carry ``valid``.
    """

    shape: tuple[int, ...]
    length: int
    dtype: str = "float32"
    ragged: bool = True

    @property
    def dim(self) -> int:
        """Numbers at one position: D of features, C H W of frames, 1 of token numbers."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, (self.length, *self.shape)))}]"
