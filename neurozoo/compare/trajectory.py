"""Training on several backends at once: the same weights, batches and dropout, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.compare.backends import Backend
from neurozoo.compare.layers import tensor_difference
from neurozoo.compare.result import Mismatch, Training, Trajectory
from neurozoo.compare.sources import Source
from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import recorded, spiking_layers
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.predicting import predict_split
from neurozoo.operations.profiling import Told
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import train_step

__all__ = ["LOSS_TOLERANCE", "train_side_by_side"]

LOSS_TOLERANCE = 1e-6
"""Allowed difference of a loss until a spike differs, as a share of the reference's."""
PARTED_TOLERANCE = 1e-4
"""Share of all spikes that may flip by rounding in the first step in which any does; 8 in any case."""


def train_side_by_side(
    source: Source, backends: Sequence[Backend], *, steps: int, told: Told = lambda what, done, of: None
) -> Training:
    """Train the same model on each backend for some steps, one step of each backend at a time.

    Every step has its own seed, the same on each backend, so that all drop the same units. Schedulers are left out:
    they change the learning rate between epochs only. The first backend is the reference.

    Raises:
        NeurozooError: The reference's loss is NaN or infinite.
    """
    subjects = [_Subject(backend, source.build(backend.name).train()) for backend in backends]
    recipe, reference = source.recipe, subjects[0]
    optimizers = [make_optimizer(recipe, subject.model) for subject in subjects]
    for step, batch in enumerate(source.training_batches(steps), start=1):
        told("training", step - 1, steps)
        expected: dict[str, Firing] = {}
        for subject, optimizer in zip(subjects, optimizers, strict=True):
            torch.manual_seed(recipe.seed + step)
            with recorded(subject.model) as firings:
                values = train_step(subject.model, batch, optimizer, recipe)
            expected = expected or dict(firings)
            subject.add(step, values, firings, expected)
        if not np.isfinite(reference.losses[-1]):
            raise NeurozooError(
                f"the loss is {reference.losses[-1]} in step {step} on {reference.backend.name}; "
                "lower training.optimizer.lr, or set training.gradient_clip"
            )
    results, samples = [], 0
    for subject in subjects:
        batches = source.whole("valid", recipe.evaluation.batch_size)
        made = predict_split(subject.model, batches, device=source.device)
        samples = int(np.unique(made.samples).size)
        results.append(subject.result(reference, source.task.measure(made.target, made.predicted, source.decision)))
    return Training(steps, recipe.training.batch_size, LOSS_TOLERANCE, samples, tuple(results))


@dataclass
class _Subject:
    """A backend in training."""

    backend: Backend
    model: Model
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    first_spike: Mismatch | None = None
    parted: int = 0
    spikes: int = 0

    def add(
        self, step: int, values: Mapping[str, Tensor], firings: Mapping[str, Firing], expected: Mapping[str, Firing]
    ) -> None:
        """Keep what one step gave."""
        self.losses.append(float(values["loss"]))
        self.rates.append(float(values.get("rate", torch.nan)))
        self.thresholds.append(float(values.get("threshold", torch.nan)))
        if self.first_spike is not None:
            return
        trains = {name: firings[name].spikes for name in spiking_layers(self.model) if name in firings}
        differ = {name: (train != expected[name].spikes).flatten(1).sum(1).tolist() for name, train in trains.items()}
        self.spikes = sum(train.numel() for train in trains.values())
        self.parted = sum(map(sum, differ.values()))
        for name, counts in differ.items():
            if any(counts):
                self.first_spike = Mismatch(name, next(t for t, count in enumerate(counts) if count), step)
                return

    def result(self, reference: _Subject, metrics: Mapping[str, float]) -> Trajectory:
        """The trajectory, compared with the reference's."""
        ours, theirs = np.array(self.losses), np.array(reference.losses)
        relative = np.abs(ours - theirs) / np.abs(theirs)
        weights, wanted = (dict(model.named_parameters()) for model in (self.model, reference.model))
        worst = tensor_difference(weights, wanted, floor=0.0)
        beyond = _first(~(relative <= LOSS_TOLERANCE))
        return Trajectory(
            name=self.backend.name,
            losses=tuple(self.losses),
            rates=tuple(self.rates),
            thresholds=tuple(self.thresholds),
            first_difference=_first(ours != theirs),
            first_beyond=beyond,
            loss_difference=float(relative.max()),
            first_spike=self.first_spike,
            parted=self.parted,
            spikes=self.spikes,
            weight_difference=worst.relative,
            worst_weight=worst.worst,
            metrics=metrics,
            problems=tuple(self._problems(beyond, reference.backend)),
        )

    def _problems(self, beyond: int | None, reference: Backend) -> Iterator[str]:
        """Losses differ by rounding alone until a spike does, then rightly; a native backend's must always agree."""
        first = self.first_spike
        if first is not None and first.batch == 1 and self.backend.exact and reference.exact:
            yield f"training: spikes differ in the first step, where the weights are the same: {first.layer}"
        if first is not None and self.parted > max(8, PARTED_TOLERANCE * self.spikes):
            yield (
                f"training: in step {first.batch} {self.parted:,} of {self.spikes:,} spikes differ at once, "
                "not by rounding"
            )
        excused = first is not None and not self.backend.native and not reference.native
        if beyond is not None and not (excused and first is not None and beyond >= first.batch):
            yield f"training: the loss of step {beyond} differs by more than {LOSS_TOLERANCE:g} of the reference's"


def _first(which: NDArray[np.bool_]) -> int | None:
    """The first step, from 1, for which something holds."""
    return int(which.argmax()) + 1 if which.any() else None
