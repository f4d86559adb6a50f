"""SYNTHETIC frames: bars that move across a small field, one direction a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.generated import Drawn, Generated
from neurozoo.errors import DataError

__all__ = ["FramesSynthetic"]

DIRECTIONS = {
    "right": (0, 1),
    "left": (0, -1),
    "down": (1, 0),
    "up": (-1, 0),
    "down-right": (1, 1),
    "up-left": (-1, -1),
    "down-left": (1, -1),
    "up-right": (-1, 1),
}


@dataclass(frozen=True, kw_only=True)
class FramesSynthetic(Generated):
    """SYNTHETIC: a bar moves by one pixel a frame, in a direction that is the class; noise is on top.

    ``events`` are what an event camera gives: two channels of bits, pixels that became brighter and pixels that
    became darker. ``pictures`` are one channel of bytes.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` have a quarter as many each.
        classes: Directions, 2 to 8.
        side: Height and width of a frame in pixels.
        length: Frames L of a sample.
        form: What a frame holds.
        noise: Probability that a pixel of ``events`` fires on its own; share of the brightness of ``pictures`` that
            is noise. Dimensionless.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "frames-synthetic"
    what = "moving bars by neurozoo's generator, version {version}; nothing was recorded"
    block = 128
    least: ClassVar = {"size": 1, "classes": 2, "side": 4, "length": 1, "seed": 0}

    size: int = 512
    classes: int = 4
    side: int = 16
    length: int = 8
    form: Literal["events", "pictures"] = "events"
    noise: float = 0.02
    seed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes > len(DIRECTIONS) or self.form not in ("events", "pictures") or not 0 <= self.noise < 1:
            raise DataError(
                f"frames-synthetic: classes is {self.classes}, form {self.form!r}, noise {self.noise}; classes are at "
                f"most {len(DIRECTIONS)}, form is events or pictures, noise is in [0, 1)"
            )

    def _declaration(self) -> dict[str, Any]:
        channels, dtype = (2, "bool") if self.form == "events" else (1, "uint8")
        shape = SignalShape((channels, self.side, self.side), self.length, dtype, ragged=False)
        return {"signals": {"frames": shape}, "task": "multiclass", "outputs": list(DIRECTIONS)[: self.classes]}

    def _block(self, random: np.random.Generator) -> Drawn:
        """Frames ``[n, L, C, H, W]`` and classes ``[n]``."""
        classes = random.integers(0, self.classes, self.block)
        start = random.integers(0, self.side, (self.block, 2))
        thick = random.integers(1, 3, self.block)
        bars = np.stack([self._bar(*each) for each in zip(classes, start, thick, strict=True)])  # [n, L + 1, H, W]
        if self.form == "events":
            before, after = bars[:, :-1], bars[:, 1:]
            events = np.stack([after & ~before, before & ~after], axis=2)
            return {"frames": events ^ (random.random(events.shape) < self.noise)}, classes, {}
        noise = random.random((self.block, self.length, 1, self.side, self.side))
        light = (1 - self.noise) * bars[:, 1:, None] + self.noise * noise
        return {"frames": np.round(255 * light).astype(np.uint8)}, classes, {}

    def _bar(self, direction: int, start: NDArray[np.int64], thick: int) -> NDArray[np.bool_]:
        """One bar, across its direction, in L + 1 frames ``[L + 1, H, W]``; it comes back on the other side."""
        down, right = list(DIRECTIONS.values())[direction]
        y, x = np.mgrid[: self.side, : self.side]
        half = self.side // 2
        frames = []
        for step in range(self.length + 1):
            dy = (y - start[0] - down * step + half) % self.side - half
            dx = (x - start[1] - right * step + half) % self.side - half
            along, across = down * dy + right * dx, right * dy - down * dx
            frames.append((np.abs(along) < thick) & (np.abs(across) <= self.side // 3))
        return np.stack(frames)
