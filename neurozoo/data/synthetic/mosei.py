"""SYNTHETIC data: the stand-in for CMU-MOSEI, and values for dry runs.

The stand-in's generator is described in :mod:`neurozoo.data.synthetic.emotion_events`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.core.task import Task
from neurozoo.data.synthetic.emotion_events import BLOCK, SPLITS, EmotionEvents, statistics
from neurozoo.data.synthetic.generated import Draw, Drawn, Generated

__all__ = ["MoseiSynthetic", "made_up"]

# Samples of CMU-MOSEI's aligned splits; the stand-in keeps their proportion.
_FULL = {"train": 16326, "valid": 1871, "test": 4659}


@dataclass(frozen=True, kw_only=True)
class MoseiSynthetic(Generated):
    """SYNTHETIC stand-in with CMU-MOSEI's shapes, label sets, lengths and feature scales.

    Nothing in it was recorded, and no score on it compares with the paper's.

    Args:
        size: Samples of ``train``; ``valid`` and ``test`` keep CMU-MOSEI's proportion.
        seed: Fixes every value; a smaller size is the beginning of a larger one.
        length: Positions L of a sequence.

    Raises:
        DataError: An argument is out of range.
    """

    name = "mosei-synthetic"
    what = "made up by neurozoo's generator, version {version}; nothing compares with the paper"
    block = BLOCK
    least: ClassVar = {"size": 1, "seed": 0, "length": 1}

    size: int = 16326
    seed: int = 7
    length: int = 60

    @property
    def splits(self) -> dict[str, int]:
        """Samples by split, at least 1 each."""
        return {name: max(1, round(self.size * full / _FULL["train"])) for name, full in _FULL.items()}

    def origin(self) -> dict[str, Any]:
        """As for every set; the figures are CMU-MOSEI's."""
        follows = f"none; label sets, lengths and feature scales follow: {statistics()['source']}"
        return super().origin() | {"citation": follows}

    def _declaration(self) -> dict[str, Any]:
        figures = statistics()
        shapes = {name: SignalShape((of["dim"],), self.length) for name, of in figures["features"].items()}
        return {"labels": figures["labels"], "modalities": shapes}

    def _drawing(self) -> Draw:
        events = EmotionEvents(self.seed, self.length)

        def draw(split: int, first: int, _: int) -> Drawn:
            block = events.block(SPLITS[split], first // BLOCK)
            return block.features, block.labels, dict.fromkeys(block.features, block.mask)

        return draw


def made_up(signals: Mapping[str, SignalShape], task: Task, samples: int, seed: int) -> Batch:
    """Random signals and targets of the right shapes, for dry runs: SYNTHETIC and without any meaning.

    Signals are standard normal floats, spikes with probability 1/5, bytes of every value, or small whole numbers;
    ragged ones are padded on the left by random amounts.
    """
    generator = torch.Generator().manual_seed(seed)
    read = {}
    for name, shape in signals.items():
        axes = (samples, shape.length, *shape.shape)
        valid = None
        if shape.ragged:
            padding = torch.randint(0, shape.length, (samples, 1), generator=generator)
            valid = torch.arange(shape.length) >= padding
        x = _random(axes, shape.dtype, generator)
        read[name] = Signal(x if valid is None else x * valid.view(*axes[:2], *[1] * len(shape.shape)), valid)
    first = next(iter(read.values()))
    lead = (samples, first.values.shape[1]) if task.per_step else (samples,)
    target = task.made_up(*lead, generator=generator)
    return Batch(read, target, first.valid if task.per_step else None, torch.arange(samples))


def _random(axes: tuple[int, ...], dtype: str, generator: torch.Generator) -> Tensor:
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return torch.randn(*axes, generator=generator).to(kind)
    if kind == torch.bool:
        return torch.rand(*axes, generator=generator) < 0.2
    return torch.randint(0, 256 if kind == torch.uint8 else 10, axes, generator=generator).to(kind)
