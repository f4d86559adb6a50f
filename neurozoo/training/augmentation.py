"""Augmentation: training batches that are changed at random, never those of an evaluation.

Draws come from torch's own generators, whose states are part of a run's state, so that a resumed training augments as
if it had not stopped. They are drawn on the CPU, a few numbers a sample; values change on the batch's device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import NeurozooError, UserError
from neurozoo.recipe.schema import AugmentRef
from neurozoo.registry.registry import default_registry

__all__ = [
    "Augmentation",
    "Augmenter",
    "EventAugmentation",
    "EventAugmenter",
    "FrameAugmentation",
    "Mixed",
    "Mixup",
    "Share",
    "changed",
    "drawn",
    "per_sample",
]

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]


class Augmentation(ABC):
    """Base class of augmentations, which a recipe names in ``training.augment``.

    The keyword-only parameters of ``__init__`` are the ``params`` of the recipe, checked against their annotations.
    Random numbers come from torch's default generators.
    """

    keeps_positions: ClassVar[bool] = True
    """Whether positions stay where they are, or their targets move with them, so that targets per step still fit."""
    per_step: bool = False
    """Whether positions have targets of their own; set before the first batch."""

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        """Return what it needs of a signal if it cannot change one of this shape; empty if it can."""
        return ""

    @abstractmethod
    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        """Return a batch with these signals changed; called without gradients."""


@dataclass(frozen=True)
class Mixed(Batch):
    """A batch whose samples are mixed with others; its loss is a mean of the losses of both targets.

    That has the gradient of the loss of a mixed target wherever the loss is linear in the target, as the cross-entropy
    is, or quadratic.

    Attributes:
        partner: Targets of the other samples, in the form of ``target``.
        partner_valid: As ``target_valid``, of the other samples.
        share: Weight of ``target``; ``1 - share`` is that of ``partner``.
    """

    partner: Tensor = field(default_factory=lambda: torch.empty(0))
    partner_valid: Tensor | None = None
    share: float = 1.0


class FrameAugmentation(Augmentation):
    """Base class of augmentations of frames and pictures ``[B, L, C, H, W]``, the same for all frames of a sample."""

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        return "" if len(shape.shape) == 3 else "frames or pictures [L, C, H, W]"

    @abstractmethod
    def frames(self, values: Tensor) -> Tensor:
        """Return changed frames ``[B, L, C, H, W]``, on the same device."""

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        return replace(batch, signals=changed(batch, names, lambda each: Signal(self.frames(each.values), each.valid)))


class EventAugmentation(Augmentation):
    """Base class of augmentations of events, which change them as they are stored, before they are represented."""

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        return "events of a store" if shape.sensor is None else ""

    def fits(self, stored: SignalShape) -> str:
        """Return what its parameters need of events if it cannot change these; empty if it can."""
        return ""

    @abstractmethod
    def events(self, events: Signal, stored: SignalShape) -> Signal:
        """Return changed events ``[B, E, 2]`` in the order of their times, with ``valid``; see :class:`SignalShape`."""

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        raise NeurozooError("events are augmented before they are represented, see EventAugmenter")


class Mixup(Augmentation):
    """Mixes each sample with another of its batch: ``share x + (1 - share) x'``, and so the loss of both targets.

    Source: Zhang et al. 2018, equation 1, with one share for the batch. The partners are those of the batch in reverse
    order. A position is valid if it is in one of both; padding counts as zeros.

    Args:
        alpha: The share is drawn from a beta distribution with both parameters alpha, dimensionless.
        p: Probability that a batch is mixed.
    """

    def __init__(self, *, alpha: Positive = 0.5, p: Share = 1.0) -> None:
        self.alpha, self.p = alpha, p

    @classmethod
    def refusal(cls, shape: SignalShape) -> str:
        return "numbers that can be averaged, not those of tokens" if not shape.shape else ""

    def __call__(self, batch: Batch, names: Collection[str]) -> Batch:
        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        if batch.target is None or float(torch.rand(())) >= self.p:
            return batch
        signals = changed(batch, names, lambda each: _mix(each, share))
        valid = batch.target_valid
        partners = (batch.target.flip(0), None if valid is None else valid.flip(0))
        return Mixed(signals, batch.target, valid, batch.index, *partners, share)


def _mix(signal: Signal, share: float) -> Signal:
    values, valid = signal.values, signal.valid
    if not values.is_floating_point():
        values = values.to(torch.get_default_dtype())
    if valid is not None:
        values = values.masked_fill(per_sample(~valid, values), 0.0)
        valid = valid | valid.flip(0)
    return Signal(torch.lerp(values.flip(0), values, share), valid)


class Augmenter:
    """Applies a recipe's augmentations to training batches, in order; not those of events, see :class:`EventAugmenter`.

    Args:
        chosen: ``training.augment`` of the recipe.
        signals: Shapes of the model's signals.
        per_step: Whether positions have targets of their own.
        events: Names of the signals that are stored as events.

    Raises:
        UserError: An augmentation is not installed, or fits none of the signals that it is to change, or the targets.
    """

    def __init__(
        self,
        chosen: Sequence[AugmentRef],
        signals: Mapping[str, SignalShape],
        per_step: bool = False,
        events: Collection[str] = (),
    ) -> None:
        self._steps: list[tuple[Augmentation, tuple[str, ...], int | None]] = []
        for each in chosen:
            kind, others = _kind(each), signals
            if issubclass(kind, EventAugmentation):
                others = {name: shape for name, shape in signals.items() if name not in events}
                if not issubclass(kind, FrameAugmentation) or not others:
                    continue
            if per_step and not kind.keeps_positions:
                raise UserError(f"training.augment: {each.name} drops positions, which have targets here; take it out")
            augmentation = kind(**each.params)
            augmentation.per_step = per_step
            self._steps.append((augmentation, _names(each, kind, others), each.until))

    @torch.no_grad()
    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Return the batch as augmented in an epoch, counted from 1."""
        for augmentation, names, until in self._steps:
            if until is None or epoch <= until:
                batch = augmentation(batch, names)
        return batch


class EventAugmenter:
    """Applies a recipe's augmentations of events to batches as they are stored, in order.

    Args:
        chosen: ``training.augment`` of the recipe.
        stored: Shapes of the signals that are stored as events.

    Raises:
        UserError: An augmentation is not installed, or fits none of the signals that it is to change.
    """

    def __init__(self, chosen: Sequence[AugmentRef], stored: Mapping[str, SignalShape]) -> None:
        self._stored = stored
        self._steps: list[tuple[EventAugmentation, tuple[str, ...], int | None]] = []
        for each in chosen:
            kind = _kind(each)
            if not issubclass(kind, EventAugmentation):
                continue
            if not stored:
                if issubclass(kind, FrameAugmentation):
                    continue  # of frames, then
                raise UserError(f"training.augment: {each.name} changes events, and the data has none; take it out")
            if unknown := [name for name in each.signals or () if name not in stored]:
                if issubclass(kind, FrameAugmentation):
                    continue
                known = ", ".join(stored)
                raise UserError(
                    f"training.augment: {each.name} names {', '.join(unknown)}, and stored as events are: {known}"
                )
            made = kind(**each.params)
            names = tuple(name for name in each.signals or stored if name in stored)
            for name in names:
                if need := made.fits(stored[name]):
                    raise UserError(f"training.augment: {each.name} needs {need}, and {name} is {stored[name]}")
            self._steps.append((made, names, each.until))

    def change(self, epoch: int) -> Callable[[Batch], Batch] | None:
        """Return what changes a stored batch in an epoch, counted from 1; None if nothing does."""
        steps = [(made, names) for made, names, until in self._steps if until is None or epoch <= until]

        def apply(batch: Batch) -> Batch:
            signals = dict(batch.signals)
            for made, names in steps:
                signals |= {name: made.events(signals[name], self._stored[name]) for name in names}
            return replace(batch, signals=signals)

        return apply if steps else None


def _kind(ref: AugmentRef) -> type[Augmentation]:
    try:
        kind: type[Augmentation] = default_registry().resolve("augmentation", ref.name)
    except NeurozooError as error:
        raise UserError(f"training.augment: {error}") from error
    return kind


def _names(ref: AugmentRef, kind: type[Augmentation], signals: Mapping[str, SignalShape]) -> tuple[str, ...]:
    """Return the signals that an augmentation changes: those named, or all that it can."""
    there = ", ".join(f"{name} {shape}" for name, shape in signals.items())
    if unknown := [name for name in ref.signals or () if name not in signals]:
        raise UserError(f"training.augment: {ref.name} names {', '.join(unknown)}, and the model reads: {there}")
    needs = {name: kind.refusal(signals[name]) for name in ref.signals or signals}
    refused = {name: need for name, need in needs.items() if need}
    if refused and (ref.signals or len(refused) == len(needs)):
        name, need = next(iter(refused.items()))
        raise UserError(f"training.augment: {ref.name} changes {need}, and {name} is {signals[name]}; take it out")
    return tuple(name for name in needs if name not in refused)


def changed(batch: Batch, names: Collection[str], change: Callable[[Signal], Signal]) -> dict[str, Signal]:
    """Return a batch's signals by name, with a change of those that are named."""
    return {name: change(each) if name in names else each for name, each in batch.signals.items()}


def drawn(p: float, samples: int) -> Tensor:
    """Return which samples are chosen with probability ``p``, ``[B]`` bool on the CPU."""
    return torch.rand(samples) < p


def per_sample(x: Tensor, like: Tensor) -> Tensor:
    """Return numbers ``[B, ...]`` on the device of ``like``, with axes appended to broadcast against it."""
    return x.to(like.device, non_blocking=True).reshape(*x.shape, *[1] * (like.dim() - x.dim()))
