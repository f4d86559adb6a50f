"""SYNTHETIC evidence accumulation: cues on two sides as spike trains, a delay, and the question which side had more.

Source: the task of Bellec, Scherr et al. 2020 (Nature Communications 11, figure 3), after Morcos & Harvey 2016, with
the authors' numbers: 4 groups of 10 neurons, 7 cues, 2,250 steps of 1 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.synthetic.generated import Drawn, Generated
from neurozoo.errors import DataError

__all__ = ["EvidenceSynthetic"]

_SLOT, _CUE, _RECALL = 150, 100, 150
"""Milliseconds of a slot, of the cue at its end, and of the recall at the end of a sample."""
_LIKELY = 0.7
"""Probability of a cue on the sample's likelier side."""


@dataclass(frozen=True, kw_only=True)
class EvidenceSynthetic(Generated):
    """Spike trains of four groups: left cues, right cues, recall, noise; the class is the side that had more cues.

    A sample has ``cues`` slots of 150 ms, in the last 100 ms of which the neurons of the cue's side fire, then a delay,
    and 150 ms in which the recall neurons fire. A cue is on one side with probability 0.7, and that side is drawn for
    each sample. Noise neurons fire throughout. Neurons fire at each step with probability ``rate * step / 1000``.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` have a quarter as many each.
        cues: Of a sample; odd, so that one side has more.
        group: Neurons of each of the four groups.
        duration: Of a sample, in ms.
        step: In ms; a divisor of 50 and of the duration.
        rate: Of cue and recall neurons while they fire, in Hz.
        noise: Rate of the noise neurons, in Hz.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "evidence-synthetic"
    what = "cues and their majority by neurozoo's generator, version {version}; nothing was recorded"
    block = 64
    least: ClassVar = {"size": 1, "cues": 1, "group": 1, "duration": 1, "step": 1, "seed": 0}

    size: int = 1024
    cues: int = 7
    group: int = 10
    duration: int = 2250
    step: int = 1
    rate: float = 40.0
    noise: float = 10.0
    seed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cues % 2:
            raise DataError(f"{self.name}: cues is {self.cues}, and both sides could have as many; give an odd number")
        if 50 % self.step or self.duration % self.step:
            raise DataError(
                f"{self.name}: step is {self.step} ms; give a divisor of 50 and of the duration, {self.duration} ms"
            )
        least = self.cues * _SLOT + _RECALL
        if self.duration < least:
            raise DataError(
                f"{self.name}: duration is {self.duration} ms; {self.cues} cues and the recall take {least}"
            )
        for name, value in (("rate", self.rate), ("noise", self.noise)):
            if not 0 <= value * self.step <= 1000:
                raise DataError(f"{self.name}: {name} is {value} Hz; give 0 to {1000 / self.step:g}, a spike a step")

    @property
    def length(self) -> int:
        """Steps L of a sample."""
        return self.duration // self.step

    def _declaration(self) -> dict[str, Any]:
        return {
            "signals": {"spikes": SignalShape((4 * self.group,), self.length, "bool")},
            "task": "multiclass",
            "outputs": ["left", "right"],
        }

    def _block(self, random: np.random.Generator) -> Drawn:
        """Draw spikes ``[S, L, 4 * group]`` and classes ``[S]``."""
        likelier = random.integers(0, 2, self.block)
        unlikely = random.random((self.block, self.cues)) >= _LIKELY
        sides = np.where(unlikely, 1 - likelier[:, None], likelier[:, None])  # 0 is left
        rates = np.zeros((self.block, self.length, 4))
        slot, cue = _SLOT // self.step, _CUE // self.step
        for place in range(self.cues):
            end = (place + 1) * slot
            rates[np.arange(self.block), end - cue : end, sides[:, place]] = self.rate
        rates[:, -(_RECALL // self.step) :, 2] = self.rate
        rates[..., 3] = self.noise
        chance = np.repeat(rates * self.step / 1000, self.group, axis=2)
        target: NDArray[np.int64] = (sides.sum(1) > self.cues // 2).astype(np.int64)
        return {"spikes": random.random(chance.shape) < chance}, target, {}
