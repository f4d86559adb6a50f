"""SYNTHETIC events: the bars of ``frames-synthetic`` as an event camera gives them, one direction a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.frames import DIRECTIONS, FramesSynthetic
from neurozoo.data.synthetic.generated import Drawn, Generated
from neurozoo.errors import DataError

__all__ = ["EventsSynthetic"]


@dataclass(frozen=True, kw_only=True)
class EventsSynthetic(Generated):
    """SYNTHETIC: a bar moves by one pixel in 5 ms, in a direction that is the class; noise is on top.

    The signal ``events`` is events of a camera with ticks of a microsecond: a pixel that changes in an interval of
    5 ms fires once in it, at a random time.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` have a quarter as many each.
        classes: Directions, 2 to 8.
        side: Height and width of the sensor in pixels.
        length: Intervals of 5 ms.
        noise: Probability that a pixel fires in an interval on its own, dimensionless.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "events-synthetic"
    what = "events of moving bars by neurozoo's generator, version {version}; nothing was recorded"
    block = 128
    least: ClassVar = {"size": 1, "classes": 2, "side": 4, "length": 1, "seed": 0}
    interval: ClassVar[int] = 5000
    """Ticks in which the bar moves by one pixel."""

    size: int = 512
    classes: int = 4
    side: int = 16
    length: int = 20
    noise: float = 0.005
    seed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes > len(DIRECTIONS) or not 0 <= self.noise < 1:
            raise DataError(
                f"events-synthetic: classes is {self.classes}, noise {self.noise}; classes are at most "
                f"{len(DIRECTIONS)}, noise is in [0, 1)"
            )

    def _declaration(self) -> dict[str, Any]:
        sensor = (2, self.side, self.side)
        shape = SignalShape.events(sensor, self.length * int(np.prod(sensor)))
        return {"signals": {"events": shape}, "task": "multiclass", "outputs": list(DIRECTIONS)[: self.classes]}

    def _block(self, random: np.random.Generator) -> Drawn:
        """Lists of n arrays ``[E_i, 2]`` and classes ``[n]``."""
        options = {name: value for name, value in self.options.items() if name != "size"}
        signals, classes, _ = FramesSynthetic(**options)._block(random)
        events = []
        for frames in signals["frames"]:
            interval, address = frames.reshape(self.length, -1).nonzero()
            time = interval * self.interval + random.integers(0, self.interval, len(interval))
            order = np.argsort(time, kind="stable")
            events.append(np.stack([time, address], 1)[order])
        return {"events": events}, classes, {}
