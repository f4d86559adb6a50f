"""SYNTHETIC data: the stand-in for CMU-MOSEI, and values for dry runs.

The stand-in's generator is described in :mod:`neurozoo.data.synthetic.emotion_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from neurozoo.core.interfaces import Batch
from neurozoo.data.locations import data_home
from neurozoo.data.manifest import Modality
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.synthetic.emotion_events import BLOCK, EmotionEvents, statistics
from neurozoo.errors import DataError

__all__ = ["MoseiSynthetic", "made_once", "made_up"]

VERSION = 1
# Samples of CMU-MOSEI's aligned splits; the stand-in keeps their proportion.
_FULL = {"train": 16326, "valid": 1871, "test": 4659}


class MoseiSynthetic:
    """SYNTHETIC stand-in with CMU-MOSEI's shapes, label sets, lengths and feature scales.

    Nothing in it was recorded, and no score on it compares with the paper's.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` keep CMU-MOSEI's proportion.
        seed: Fixes every value; a smaller size is the beginning of a larger one.
        length: Positions L of a sequence.

    Raises:
        DataError: An argument is out of range.
    """

    def __init__(self, *, size: int = 16326, seed: int = 7, length: int = 60) -> None:
        for name, value, least in (("size", size, 1), ("seed", seed, 0), ("length", length, 1)):
            if value < least:
                raise DataError(f"mosei-synthetic: {name} is {value}; it must be at least {least}")
        self.size, self.seed, self.length = size, seed, length

    @property
    def splits(self) -> dict[str, int]:
        """Samples by split, at least 1 each."""
        return {name: max(1, round(self.size * full / _FULL["train"])) for name, full in _FULL.items()}

    @property
    def path(self) -> Path:
        """Where the store is, or will be."""
        return data_home() / f"mosei-synthetic-v{VERSION}-{self.size}-{self.seed}-{self.length}"

    def store(self) -> Store:
        """The data; generated on first use, about 1 s for every 1,500 samples, and kept for later.

        Raises:
            DataError: The folder cannot be written, or what is in it is not whole.
        """
        return made_once(self.path, self._generate)

    def _generate(self) -> None:
        figures = statistics()
        draw = EmotionEvents(self.seed, self.length)
        shapes = {name: Modality(of["dim"], self.length) for name, of in figures["features"].items()}
        origin = {
            "format": "mosei-synthetic",
            "source": f"SYNTHETIC: made up by neurozoo's generator, version {VERSION}; nothing compares with the paper",
            "licence": "Apache-2.0",
            "citation": f"none; label sets, lengths and feature scales follow: {figures['source']}",
            "options": {"size": self.size, "seed": self.seed, "length": self.length},
        }
        with StoreWriter(
            self.path, labels=figures["labels"], origin=origin, modalities=shapes, synthetic=True
        ) as writer:
            for split, samples in self.splits.items():
                for first in range(0, samples, BLOCK):
                    block = draw.block(split, first // BLOCK)
                    n = min(BLOCK, samples - first)
                    writer.add(
                        split,
                        {name: x[:n] for name, x in block.features.items()},
                        block.labels[:n],
                        ids=[f"synthetic-{split}-{i:05d}" for i in range(first, first + n)],
                        masks=dict.fromkeys(block.features, block.mask[:n]),
                    )


def made_once(path: Path, generate: Callable[[], None]) -> Store:
    """A store that is made up on first use, and kept.

    Args:
        path: Where it is, or will be.
        generate: Writes it there, whole or not at all.

    Raises:
        DataError: The folder cannot be written, or what is in it is not whole.
    """
    if not path.exists():
        try:
            generate()
        except DataError:
            # Another process may have been faster; then its store is this one.
            if not path.exists():
                raise
    try:
        return Store(path)
    except DataError as error:
        raise DataError(f"{error}; this one is SYNTHETIC: remove {path}, and it is made anew") from error


def made_up(modalities: Mapping[str, Modality], labels: Sequence[str], samples: int, seed: int) -> Batch:
    """Random values of the right shape, for dry runs: SYNTHETIC and without any meaning.

    Args:
        modalities: Shapes by modality.
        labels: Names of the K labels.
        samples: Number of samples B.
        seed: Fixes the values.

    Returns:
        Standard normal features, padded on the left by random amounts, with random labels.
    """
    generator = torch.Generator().manual_seed(seed)
    features, masks = {}, {}
    for name, modality in modalities.items():
        padding = torch.randint(0, modality.length, (samples, 1), generator=generator)
        masks[name] = torch.arange(modality.length) >= padding
        x = torch.randn(samples, modality.length, modality.dim, generator=generator)
        features[name] = x * masks[name][:, :, None]
    truth = torch.randint(0, 2, (samples, len(labels)), generator=generator).float()
    return Batch(features, masks, truth, torch.arange(samples))
