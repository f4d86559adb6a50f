"""SYNTHETIC frames: bars that move across a small field, one direction a class."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import StoreWriter
from neurozoo.data.synthetic.generated import Generated, refuse_small
from neurozoo.errors import DataError

__all__ = ["FramesSynthetic"]

_BLOCK = 128
"""Samples drawn from one generator."""
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

    def __init__(
        self,
        *,
        size: int = 512,
        classes: int = 4,
        side: int = 16,
        length: int = 8,
        form: Literal["events", "pictures"] = "events",
        noise: float = 0.02,
        seed: int = 1,
    ) -> None:
        refuse_small("frames-synthetic", size=(size, 1), classes=(classes, 2), side=(side, 4), length=(length, 1))
        refuse_small("frames-synthetic", seed=(seed, 0))
        if classes > len(DIRECTIONS) or form not in ("events", "pictures") or not 0 <= noise < 1:
            raise DataError(
                f"frames-synthetic: classes is {classes}, form {form!r}, noise {noise}; classes are at most "
                f"{len(DIRECTIONS)}, form is events or pictures, noise is in [0, 1)"
            )
        self.size, self.classes, self.side, self.length = size, classes, side, length
        self.form, self.noise, self.seed = form, noise, seed

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name."""
        return {
            "size": self.size, "classes": self.classes, "side": self.side, "length": self.length,
            "form": self.form, "noise": self.noise, "seed": self.seed,
        }  # fmt: skip

    def _generate(self) -> None:
        channels, dtype = (2, "bool") if self.form == "events" else (1, "uint8")
        shape = SignalShape((channels, self.side, self.side), self.length, dtype, ragged=False)
        counts = {"train": self.size, "valid": max(1, self.size // 4), "test": max(1, self.size // 4)}
        with StoreWriter(
            self.path,
            signals={"frames": shape},
            task="multiclass",
            outputs=list(DIRECTIONS)[: self.classes],
            origin=self.origin(),
            synthetic=True,
        ) as writer:
            for place, (split, samples) in enumerate(counts.items()):
                for first in range(0, samples, _BLOCK):
                    random = np.random.default_rng([self.seed, place, first])
                    frames, classes = self._block(random)
                    n = min(_BLOCK, samples - first)
                    ids = [f"synthetic-{split}-{number:05d}" for number in range(first, first + n)]
                    writer.add(split, {"frames": frames[:n]}, classes[:n], ids=ids)

    def _block(self, random: np.random.Generator) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Frames ``[n, L, C, H, W]`` and classes ``[n]``."""
        classes = random.integers(0, self.classes, _BLOCK)
        start = random.integers(0, self.side, (_BLOCK, 2))
        thick = random.integers(1, 3, _BLOCK)
        bars = np.stack([self._bar(*each) for each in zip(classes, start, thick, strict=True)])  # [n, L + 1, H, W]
        if self.form == "events":
            before, after = bars[:, :-1], bars[:, 1:]
            events = np.stack([after & ~before, before & ~after], axis=2)
            return events ^ (random.random(events.shape) < self.noise), classes
        noise = random.random((_BLOCK, self.length, 1, self.side, self.side))
        light = (1 - self.noise) * bars[:, 1:, None] + self.noise * noise
        return np.round(255 * light).astype(np.uint8), classes

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
