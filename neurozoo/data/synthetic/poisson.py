"""SYNTHETIC spike trains without any meaning, for models that have no data of their own here."""

from __future__ import annotations

from typing import Any

import torch

from neurozoo.data.manifest import feature_shape
from neurozoo.data.store import StoreWriter
from neurozoo.data.synthetic.generated import Generated
from neurozoo.errors import DataError

__all__ = ["LENGTH", "RATE", "SIZE", "PoissonSynthetic"]

SIZE = 64
"""Samples of ``train``."""
LENGTH = 100
"""Steps of a sample."""
RATE = 0.2
"""Spikes a step."""


class PoissonSynthetic(Generated):
    """SYNTHETIC: each feature fires by itself at each step with one probability, and labels are drawn likewise.

    Nothing can be learned from it. It is there to run a model, and to compare backends on it.

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

    def __init__(
        self,
        *,
        features: int = 16,
        labels: int = 4,
        size: int = SIZE,
        length: int = LENGTH,
        rate: float = RATE,
        seed: int = 1,
    ) -> None:
        for name, value in (("features", features), ("labels", labels), ("size", size), ("length", length)):
            if value < 1:
                raise DataError(f"poisson-synthetic: {name} is {value}; it must be at least 1")
        if not 0 < rate <= 1 or seed < 0:
            raise DataError(
                f"poisson-synthetic: rate is {rate} and seed {seed}; a rate is in (0, 1], a seed not negative"
            )
        self.features, self.labels, self.size = features, labels, size
        self.length, self.rate, self.seed = length, rate, seed

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name."""
        return {
            "features": self.features, "labels": self.labels, "size": self.size,
            "length": self.length, "rate": self.rate, "seed": self.seed,
        }  # fmt: skip

    def _generate(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        shapes = {"spikes": feature_shape(self.features, self.length)}
        labels = [f"label-{number}" for number in range(self.labels)]
        counts = {"train": self.size, "valid": max(1, self.size // 2), "test": max(1, self.size // 2)}
        with StoreWriter(self.path, labels=labels, origin=self.origin(), modalities=shapes, synthetic=True) as writer:
            for split, samples in counts.items():
                for first in range(0, samples, 64):
                    n = min(64, samples - first)
                    fired = torch.rand(n, self.length, self.features, generator=generator) < self.rate
                    truth = torch.rand(n, self.labels, generator=generator) < 0.5
                    writer.add(
                        split,
                        {"spikes": fired.float().numpy()},
                        truth.float().numpy(),
                        ids=[f"synthetic-{split}-{number:05d}" for number in range(first, first + n)],
                        masks={"spikes": torch.ones(n, self.length).numpy()},
                    )
