"""SYNTHETIC data: the stand-in for CMU-MOSEI, and values for dry runs.

The stand-in's generator is described in :mod:`neurozoo.data.synthetic.emotion_events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.data.checks import target_column
from neurozoo.data.manifest import TaskEntry
from neurozoo.data.store import StoreWriter
from neurozoo.data.synthetic.emotion_events import BLOCK, EmotionEvents, statistics
from neurozoo.data.synthetic.generated import Generated, refuse_small

__all__ = ["MoseiSynthetic", "made_up"]

# Samples of CMU-MOSEI's aligned splits; the stand-in keeps their proportion.
_FULL = {"train": 16326, "valid": 1871, "test": 4659}


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

    def __init__(self, *, size: int = 16326, seed: int = 7, length: int = 60) -> None:
        refuse_small("mosei-synthetic", size=(size, 1), seed=(seed, 0), length=(length, 1))
        self.size, self.seed, self.length = size, seed, length

    @property
    def splits(self) -> dict[str, int]:
        """Samples by split, at least 1 each."""
        return {name: max(1, round(self.size * full / _FULL["train"])) for name, full in _FULL.items()}

    @property
    def options(self) -> dict[str, Any]:
        """The parameters by name."""
        return {"size": self.size, "seed": self.seed, "length": self.length}

    def origin(self) -> dict[str, Any]:
        """As for every set; the figures are CMU-MOSEI's."""
        follows = f"none; label sets, lengths and feature scales follow: {statistics()['source']}"
        return super().origin() | {"citation": follows}

    def _generate(self) -> None:
        figures = statistics()
        draw = EmotionEvents(self.seed, self.length)
        shapes = {name: SignalShape((of["dim"],), self.length) for name, of in figures["features"].items()}
        with StoreWriter(
            self.path, labels=figures["labels"], origin=self.origin(), modalities=shapes, synthetic=True
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


def made_up(signals: Mapping[str, SignalShape], answers: TaskEntry | Sequence[str], samples: int, seed: int) -> Batch:
    """Random values of the right shape, for dry runs: SYNTHETIC and without any meaning.

    Args:
        signals: Shapes by signal.
        answers: The task, one of the zoo's own; or the names of K labels.
        samples: Number of samples B.
        seed: Fixes the values.

    Returns:
        Standard normal floats, spikes with probability 1/5, bytes of every value, small whole numbers; ragged signals
        are padded on the left by random amounts. The targets are random too.
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
    task = answers if isinstance(answers, TaskEntry) else TaskEntry("multilabel", tuple(answers), False)
    column, first = target_column(task, "a made-up batch"), next(iter(read.values()))
    steps = (samples, first.values.shape[1]) if task.per_step else (samples,)
    if task.name == "regression":
        target = torch.randn(*steps, *column.shape, generator=generator)
    else:
        classes = len(task.outputs) if task.name == "multiclass" else 2
        target = torch.randint(0, classes, (*steps, *column.shape), generator=generator)
        target = target.float() if task.name == "multilabel" else target
    return Batch(read, target, first.valid if task.per_step else None, torch.arange(samples))


def _random(axes: tuple[int, ...], dtype: str, generator: torch.Generator) -> Tensor:
    kind: torch.dtype = getattr(torch, dtype)
    if kind.is_floating_point:
        return torch.randn(*axes, generator=generator).to(kind)
    if kind == torch.bool:
        return torch.rand(*axes, generator=generator) < 0.2
    return torch.randint(0, 256 if kind == torch.uint8 else 10, axes, generator=generator).to(kind)
