"""SYNTHETIC spike trains: each class has its own rates and latencies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.generated import Drawn, Generated

__all__ = ["SpikesSynthetic"]

_PERIOD = 10
"""Steps after which a class's pattern returns."""
_BACKGROUND = 0.02
"""Probability of a spike without a pattern."""


@dataclass(frozen=True, kw_only=True)
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
    block = 128
    least: ClassVar = {"size": 1, "classes": 2, "neurons": 1, "length": 2, "seed": 0}
    rates = ("rate",)

    size: int = 512
    classes: int = 4
    neurons: int = 24
    length: int = 40
    rate: float = 0.5
    per_step: bool = False
    seed: int = 1

    def _declaration(self) -> dict[str, Any]:
        return {
            "signals": {"spikes": SignalShape((self.neurons,), self.length, "bool")},
            "task": "multiclass",
            "outputs": [f"pattern-{number}" for number in range(self.classes)],
            "along": "spikes" if self.per_step else None,
        }

    def _pattern(self) -> NDArray[np.float64]:
        """Probability of a spike, ``[classes, period, N]``, the same in every block."""
        random = np.random.default_rng(self.seed)
        active = random.random((self.classes, 1, self.neurons)) < 0.5
        latency = random.random((self.classes, 1, self.neurons))
        phase = np.arange(_PERIOD)[None, :, None] / _PERIOD - latency
        near: NDArray[np.float64] = np.exp(-((((phase + 0.5) % 1) - 0.5) ** 2) / (2 * 0.1**2))
        chance: NDArray[np.float64] = _BACKGROUND + (1 - _BACKGROUND) * self.rate * active * near
        return chance

    def _block(self, random: np.random.Generator) -> Drawn:
        """Spikes ``[L_i, N]`` of each sample, and its class, or ``[L_i]`` classes."""
        pattern = self._pattern()
        spikes: list[NDArray[np.bool_]] = []
        target: list[Any] = []
        for _ in range(self.block):
            length = int(random.integers(max(1, self.length // 2), self.length + 1))
            classes = np.full(length, random.integers(0, self.classes))
            if self.per_step:
                cuts = np.sort(random.integers(0, length + 1, 2))
                classes[cuts[0] : cuts[1]] = random.integers(0, self.classes)
            chance = pattern[classes, np.arange(length) % _PERIOD]
            spikes.append(random.random(chance.shape) < chance)
            target.append(classes if self.per_step else int(classes[0]))
        return {"spikes": spikes}, target, {}
