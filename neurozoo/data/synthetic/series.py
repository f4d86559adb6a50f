"""SYNTHETIC series for regression: sums of sines, and the quantities that they were made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.generated import Drawn, Generated
from neurozoo.errors import DataError

__all__ = ["SeriesSynthetic"]

QUANTITIES = ("level", "amplitude", "frequency")


@dataclass(frozen=True, kw_only=True)
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
    block = 256
    least: ClassVar = {"size": 1, "channels": 1, "length": 2, "seed": 0}

    size: int = 1024
    channels: int = 4
    length: int = 32
    noise: float = 0.1
    seed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < float("inf"):
            raise DataError(f"series-synthetic: noise is {self.noise}; give a deviation of 0 or more")

    def _declaration(self) -> dict[str, Any]:
        shape = SignalShape((self.channels,), self.length, "float32", ragged=False)
        return {"signals": {"series": shape}, "task": "regression", "outputs": QUANTITIES}

    def _block(self, random: np.random.Generator) -> Drawn:
        """Series ``[n, L, D]`` and quantities ``[n, 3]``."""
        phase = 2 * np.pi * np.random.default_rng(self.seed).random(self.channels)  # the same in every block
        level, amplitude = random.uniform(-1.0, 1.0, self.block), random.uniform(0.2, 2.0, self.block)
        frequency = random.uniform(0.5, 3.0, self.block)
        time = np.arange(self.length)[None, :, None] / self.length
        slow = np.sin(2 * np.pi * frequency[:, None, None] * time + phase)
        fast = 0.3 * np.sin(2 * np.pi * (6 + 3 * random.random((self.block, 1, 1))) * time)
        noise = self.noise * random.standard_normal((self.block, self.length, self.channels))
        series = level[:, None, None] + amplitude[:, None, None] * slow + fast + noise
        return {"series": series}, np.stack([level, amplitude, frequency], axis=1), {}
