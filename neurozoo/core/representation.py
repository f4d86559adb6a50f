"""What a model sees of a stored signal: the interface of representations, and their application in order.

A store keeps what was measured: events, waveforms. A recipe's ``data.represent`` names the representations of each
signal, which are applied batch by batch when it is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Signal
from neurozoo.errors import DataError

__all__ = ["Chain", "Representation"]


class Representation(ABC):
    """Base class of representations, which a recipe names in ``data.represent``.

    The keyword-only parameters of ``__init__`` are the ``params`` of the recipe, checked against their annotations;
    times are in seconds. A representation is deterministic, draws no random numbers, and gives for a sample alone what
    it gives for the sample in a batch, apart from padding.
    """

    keeps_positions: ClassVar[bool] = False
    """Whether position l of the result is position l of the signal, so that targets of each position still fit."""

    @abstractmethod
    def shape(self, stored: SignalShape) -> SignalShape:
        """Return the shape of the result.

        Raises:
            DataError: A signal of this shape cannot be represented so; says what is needed.
        """

    @abstractmethod
    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        """Return a batch's signal as the model sees it, on the signal's device.

        Args:
            signal: ``[B, L, *shape]``; of events ``[B, E, 2]`` int32, padded with zeros at the end.
            stored: The shape that :meth:`shape` got.
        """

    def steps(self, target: Signal, stored: SignalShape) -> Signal:
        """Return the targets of each position of the result, ``[B, L', ...]``, given those of the signal's positions.

        Raises:
            DataError: This representation moves positions and has no rule for their targets.
        """
        if self.keeps_positions:
            return target
        raise DataError("it moves positions, which have targets here; use a representation that says how they follow")


class Chain:
    """The representations of one signal, applied in order.

    Args:
        name: Of the signal, for errors.
        steps: The representations with their registered names.
        stored: Shape of the signal in the store.

    Attributes:
        stored: Shape of the signal in the store.
        shape: Shape of the result.

    Raises:
        DataError: A representation does not fit what comes before it.
    """

    def __init__(self, name: str, steps: Sequence[tuple[str, Representation]], stored: SignalShape) -> None:
        self.stored = stored
        self._steps: list[tuple[str, Representation, SignalShape]] = []
        for called, step in steps:
            self._steps.append((f"data.represent.{name}: {called}", step, stored))
            try:
                stored = step.shape(stored)
            except DataError as error:
                raise DataError(f"data.represent.{name}: {called}: {error}") from error
        self.shape = stored

    @property
    def keeps_positions(self) -> bool:
        """Whether positions stay where they are."""
        return all(step.keeps_positions for _, step, _ in self._steps)

    def __call__(self, signal: Signal) -> Signal:
        """Return a batch's signal as the model sees it."""
        for what, step, stored in self._steps:
            try:
                signal = step(signal, stored)
            except DataError as error:
                raise DataError(f"{what}: {error}") from error
        return signal

    def steps(self, target: Signal) -> Signal:
        """Return the targets of the result's positions, given those of the stored positions."""
        for what, step, stored in self._steps:
            try:
                target = step.steps(target, stored)
            except DataError as error:
                raise DataError(f"{what}: {error}") from error
        return target
