"""SYNTHETIC spike trains without any meaning, for models that have no data of their own here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from neurozoo.data.manifest import feature_shape
from neurozoo.data.synthetic.generated import Draw, Drawn, Generated

__all__ = ["LENGTH", "RATE", "SIZE", "PoissonSynthetic"]

SIZE = 64
"""Samples of ``train``."""
LENGTH = 100
"""Steps of a sample."""
RATE = 0.2
"""Spikes a step."""


@dataclass(frozen=True, kw_only=True)
class PoissonSynthetic(Generated):
    """SYNTHETIC: each feature fires independently at each step with one probability, and labels are random.

    Nothing can be learned from it; it serves to run models and to compare backends.

    Args:
        features: Spike trains D of a sample.
        labels: Labels K, each 1 with probability 1/2.
        size: Samples of ``train``; ``valid`` and ``test`` have half as many.
        length: Steps L.
        rate: Probability of a spike, dimensionless.
        seed: Fixes every value.

    Raises:
        DataError: An argument is out of range.
    """

    name = "poisson-synthetic"
    what = "independent spikes by neurozoo's generator, version {version}; without any meaning"
    block = 64
    part = 2
    least: ClassVar = {"features": 1, "labels": 1, "size": 1, "length": 1, "seed": 0}
    rates = ("rate",)

    features: int = 16
    labels: int = 4
    size: int = SIZE
    length: int = LENGTH
    rate: float = RATE
    seed: int = 1

    def _declaration(self) -> dict[str, Any]:
        shapes = {"spikes": feature_shape(self.features, self.length)}
        return {"modalities": shapes, "labels": [f"label-{number}" for number in range(self.labels)]}

    def _drawing(self) -> Draw:
        generator = torch.Generator().manual_seed(self.seed)

        def draw(_: int, __: int, n: int) -> Drawn:
            fired = torch.rand(n, self.length, self.features, generator=generator) < self.rate
            truth = torch.rand(n, self.labels, generator=generator) < 0.5
            return {"spikes": fired.float().numpy()}, truth.float().numpy(), {"spikes": np.ones((n, self.length))}

        return draw
