"""Inputs of models, and what a model is built for: signals, batches, problems.

Axes, everywhere: T steps of the simulation, B batch, L positions of a signal, D features, K outputs, N neurons,
C H W of frames. A model decides whether positions are steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from neurozoo.core.shapes import SignalShape

if TYPE_CHECKING:
    from neurozoo.core.task import Task

__all__ = ["Batch", "Problem", "Signal", "SignalShape"]


@dataclass(frozen=True)
class Signal:
    """One input of a batch.

    Attributes:
        values: ``[B, L, *shape]``: features ``(D,)``, spike trains ``(N,)``, frames ``(C, H, W)``, token numbers
            ``()``. A picture has one position. Any dtype; models convert it.
        valid: ``[B, L]`` bool, True at real positions, False at padding; None if all are real.
    """

    values: Tensor
    valid: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """``valid``, or a mask of True ``[B, L]`` if every position is real."""
        if self.valid is not None:
            return self.valid
        return torch.ones(self.values.shape[:2], dtype=torch.bool, device=self.values.device)

    def to(self, device: torch.device | str) -> Signal:
        """Return the signal on another device."""
        return Signal(self.values.to(device), None if self.valid is None else self.valid.to(device))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Batch:
    """Samples of a data set.

    Attributes:
        signals: By name, each with its own length and shape.
        target: In the form of the task, ``[B, ...]``; per step ``[B, L, ...]``. None if unknown.
        target_valid: ``[B, L]`` bool, the valid steps of a per-step target; None for all.
        index: ``[B]`` int64, position of each sample in its split.
    """

    signals: Mapping[str, Signal]
    target: Tensor | None = None
    target_valid: Tensor | None = None
    index: Tensor | None = None

    @staticmethod
    def of(
        values: Mapping[str, Tensor],
        valid: Mapping[str, Tensor | None] | None = None,
        target: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Batch:
        """Make a batch of values ``[B, L, *shape]`` and, for the signals that have padding, ``valid`` ``[B, L]``."""
        masks = valid or {}
        return Batch({name: Signal(x, masks.get(name)) for name, x in values.items()}, target, index=index)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device, except ``index``, which belongs to the data."""
        return replace(
            self,
            signals={name: signal.to(device) for name, signal in self.signals.items()},
            target=None if self.target is None else self.target.to(device),
            target_valid=None if self.target_valid is None else self.target_valid.to(device),
        )

    def rows(self, start: int, end: int) -> Batch:
        """Return the samples ``start`` to ``end - 1``, as views."""

        def some(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[start:end]

        signals = {name: Signal(signal.values[start:end], some(signal.valid)) for name, signal in self.signals.items()}
        return Batch(signals, some(self.target), some(self.target_valid), some(self.index))

    def __len__(self) -> int:
        return len(next(iter(self.signals.values())))


@dataclass(frozen=True)
class Problem:
    """What a model is built for.

    Attributes:
        signals: Shape of each input, in order.
        task: Meaning and number of the outputs.
        standardise: Names of the signals to scale by the training split's mean and deviation.
    """

    signals: Mapping[str, SignalShape]
    task: Task
    standardise: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Number of outputs K."""
        return len(self.task.outputs)
