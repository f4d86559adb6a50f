"""SYNTHETIC series for regression: sums of sines, and the quantities that they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import StoreWriter
from neurozoo.data.synthetic.generated import Generated, refuse_small
from neurozoo.errors import DataError

__all__ = ["SeriesSynthetic"]

_BLOCK = 256
"""Samples drawn from one generator."""
QUANTITIES = ("level", "amplitude", "frequency")


class SeriesSynthetic(Generated):
    """SYNTHETIC: a slow sine with a faster one and noise on top, seen by several channels.

    The quantities are the level, the amplitude of the slow sine, and its frequency in periods a sample. Channels see
    the sine with phases of their own.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` have a quarter as many each.
        channels: Features D.
        length: Steps L of a sample.
        noise: Standard deviation of the noise, in units of the values.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "series-synthetic"
    what = "sums of sines by neurozoo's generator, version {version}; nothing was recorded"

    def __init__(
        self, *, size: int = 1024, channels: int = 4, length: int = 32, noise: float = 0.1, seed: int = 1
    ) -> None:
        refuse_small("series-synthetic", size=(size, 1), channels=(channels, 1), length=(length, 2), seed=(seed, 0))
        if not 0 <= noise < float("inf"):
            raise DataError(f"series-synthetic: noise is {noise}; give a deviation of 0 or more")
        self.size, self.channels, self.length, self.noise, self.seed = size, channels, length, noise, seed

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name."""
        return {
            "size": self.size, "channels": self.channels, "length": self.length,
            "noise": self.noise, "seed": self.seed,
        }  # fmt: skip

    def _generate(self) -> None:
        shape = SignalShape((self.channels,), self.length, "float32", ragged=False)
        counts = {"train": self.size, "valid": max(1, self.size // 4), "test": max(1, self.size // 4)}
        phase = 2 * np.pi * np.random.default_rng(self.seed).random(self.channels)
        with StoreWriter(
            self.path,
            signals={"series": shape},
            task="regression",
            outputs=QUANTITIES,
            origin=self.origin(),
            synthetic=True,
        ) as writer:
            for place, (split, samples) in enumerate(counts.items()):
                for first in range(0, samples, _BLOCK):
                    series, target = self._block(np.random.default_rng([self.seed, place, first]), phase)
                    n = min(_BLOCK, samples - first)
                    ids = [f"synthetic-{split}-{number:05d}" for number in range(first, first + n)]
                    writer.add(split, {"series": series[:n]}, target[:n], ids=ids)

    def _block(
        self, random: np.random.Generator, phase: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Series ``[n, L, D]`` and quantities ``[n, 3]``."""
        level, amplitude = random.uniform(-1.0, 1.0, _BLOCK), random.uniform(0.2, 2.0, _BLOCK)
        frequency = random.uniform(0.5, 3.0, _BLOCK)
        time = np.arange(self.length)[None, :, None] / self.length
        slow = np.sin(2 * np.pi * frequency[:, None, None] * time + phase)
        fast = 0.3 * np.sin(2 * np.pi * (6 + 3 * random.random((_BLOCK, 1, 1))) * time)
        noise = self.noise * random.standard_normal((_BLOCK, self.length, self.channels))
        series = level[:, None, None] + amplitude[:, None, None] * slow + fast + noise
        return series, np.stack([level, amplitude, frequency], axis=1)
