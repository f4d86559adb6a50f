"""The shape of a signal; without torch, so that data sets can be listed quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

__all__ = ["SignalShape"]


@dataclass(frozen=True)
class SignalShape:
    """The shape of one signal of a data set.

    A signal with a ``sensor`` is events: values ``[B, E, 2]`` int32, a row (time in ticks, address) each; the address
    is the flat index into the sensor's axes. Times of a sample begin at 0 or later and never fall; equal rows are
    several events. L is the number of events.

    Attributes:
        shape: Axes of one position: ``(D,)``, ``(C, H, W)``, ``()`` for token numbers.
        length: Largest number of positions L; 1 for a picture.
        dtype: Name of the dtype that a batch holds, such as ``float32``, ``uint8``, ``int64``.
        ragged: Whether samples differ in length, so that batches carry ``valid``.
        tick: Seconds from one position to the next; of events seconds of one unit of time. None if unknown.
        sensor: Axes of the addresses of events: ``(2, H, W)`` of a camera (polarity 1 is brighter, y from above),
            ``(N,)`` of channels. None if the signal is not events.
        span: Of events: ticks that hold every sample, the largest time plus 1. A store's writer sets it.
    """

    shape: tuple[int, ...]
    length: int
    dtype: str = "float32"
    ragged: bool = True
    tick: float | None = None
    sensor: tuple[int, ...] | None = None
    span: int | None = None

    @staticmethod
    def events(sensor: Sequence[int], length: int, tick: float = 1e-6) -> SignalShape:
        """Return the shape of events of a sensor.

        Args:
            sensor: Axes of the addresses: ``(2, H, W)`` of a camera, ``(N,)`` of channels.
            length: Largest number of events of a sample; to declare a store, an upper limit.
            tick: Seconds of one unit of time.
        """
        return SignalShape((2,), length, "int32", True, tick, tuple(sensor))

    @property
    def dim(self) -> int:
        """Numbers at one position: D of features, C H W of frames, 1 of token numbers."""
        return prod(self.shape)

    @property
    def addresses(self) -> int:
        """Number of addresses of events; 0 if the signal is not events."""
        return 0 if self.sensor is None else prod(self.sensor)

    @property
    def seconds(self) -> float | None:
        """Duration of the longest sample in seconds; None if it is unknown."""
        positions = self.length if self.sensor is None else self.span
        return None if self.tick is None or positions is None else positions * self.tick

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without the fields that are None."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    def __str__(self) -> str:
        if self.sensor is not None:
            return f"[{self.length} events of {list(self.sensor)}]"
        return f"[{', '.join(map(str, (self.length, *self.shape)))}]"
