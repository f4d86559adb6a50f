"""SYNTHETIC spike trains: each class has its own rates and latencies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import StoreWriter
from neurozoo.data.synthetic.generated import Generated, refuse_small
from neurozoo.errors import DataError

__all__ = ["SpikesSynthetic"]

_BLOCK = 128
"""Samples drawn from one generator."""
_PERIOD = 10
"""Steps after which a class's pattern returns."""
_BACKGROUND = 0.02
"""Probability of a spike without a pattern."""


class SpikesSynthetic(Generated):
    """SYNTHETIC: neurons fire by a pattern of rates and latencies, one pattern a class.

    In each class some neurons are active; each fires around a latency of its own in every period of 10 steps, with a
    few spikes of background. Samples differ in length. Per step, a sample changes from class to class, and each step
    has the class of its own pattern.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` have a quarter as many each.
        classes: Patterns, at least 2.
        neurons: Spike trains N.
        length: Most steps L of a sample; the shortest has half as many.
        rate: Probability of a spike at the latency of an active neuron, dimensionless.
        per_step: Whether there is a class for each step.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "spikes-synthetic"
    what = "spike patterns by neurozoo's generator, version {version}; nothing was recorded"

    def __init__(
        self,
        *,
        size: int = 512,
        classes: int = 4,
        neurons: int = 24,
        length: int = 40,
        rate: float = 0.5,
        per_step: bool = False,
        seed: int = 1,
    ) -> None:
        refuse_small("spikes-synthetic", size=(size, 1), classes=(classes, 2), neurons=(neurons, 1), length=(length, 2))
        refuse_small("spikes-synthetic", seed=(seed, 0))
        if not 0 < rate <= 1:
            raise DataError(f"spikes-synthetic: rate is {rate}; a rate is in (0, 1]")
        self.size, self.classes, self.neurons, self.length = size, classes, neurons, length
        self.rate, self.per_step, self.seed = rate, per_step, seed

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name."""
        return {
            "size": self.size, "classes": self.classes, "neurons": self.neurons, "length": self.length,
            "rate": self.rate, "per_step": self.per_step, "seed": self.seed,
        }  # fmt: skip

    def _generate(self) -> None:
        pattern = self._pattern(np.random.default_rng(self.seed))
        counts = {"train": self.size, "valid": max(1, self.size // 4), "test": max(1, self.size // 4)}
        with StoreWriter(
            self.path,
            signals={"spikes": SignalShape((self.neurons,), self.length, "bool")},
            task="multiclass",
            outputs=[f"pattern-{number}" for number in range(self.classes)],
            along="spikes" if self.per_step else None,
            origin=self.origin(),
            synthetic=True,
        ) as writer:
            for place, (split, samples) in enumerate(counts.items()):
                for first in range(0, samples, _BLOCK):
                    spikes, target = self._block(np.random.default_rng([self.seed, place, first]), pattern)
                    n = min(_BLOCK, samples - first)
                    ids = [f"synthetic-{split}-{number:05d}" for number in range(first, first + n)]
                    writer.add(split, {"spikes": spikes[:n]}, target[:n], ids=ids)

    def _pattern(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Probability of a spike, ``[classes, period, N]``."""
        active = random.random((self.classes, 1, self.neurons)) < 0.5
        latency = random.random((self.classes, 1, self.neurons))
        phase = np.arange(_PERIOD)[None, :, None] / _PERIOD - latency
        near: NDArray[np.float64] = np.exp(-((((phase + 0.5) % 1) - 0.5) ** 2) / (2 * 0.1**2))
        chance: NDArray[np.float64] = _BACKGROUND + (1 - _BACKGROUND) * self.rate * active * near
        return chance

    def _block(
        self, random: np.random.Generator, pattern: NDArray[np.float64]
    ) -> tuple[list[NDArray[np.bool_]], list[Any]]:
        """Spikes ``[L_i, N]`` of each sample, and its class, or ``[L_i]`` classes."""
        spikes: list[NDArray[np.bool_]] = []
        target: list[Any] = []
        for _ in range(_BLOCK):
            length = int(random.integers(max(1, self.length // 2), self.length + 1))
            classes = np.full(length, random.integers(0, self.classes))
            if self.per_step:
                cuts = np.sort(random.integers(0, length + 1, 2))
                classes[cuts[0] : cuts[1]] = random.integers(0, self.classes)
            chance = pattern[classes, np.arange(length) % _PERIOD]
            spikes.append(random.random(chance.shape) < chance)
            target.append(classes if self.per_step else int(classes[0]))
        return spikes, target
