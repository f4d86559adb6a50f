"""Spiking health: what fires, what is dead, what is saturated, and whether it matters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model, trained_modules
from neurozoo.core.processes import at_their_places, over_all, own_share, rows_of_all, total, whole_mean
from neurozoo.core.recording import frozen_statistics, over_neurons, recorded, spiking_layers, unrecorded
from neurozoo.core.signals import Batch
from neurozoo.data.view import SplitView
from neurozoo.nn.sequence import at_relative_times
from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.schema import RatePenalty

__all__ = [
    "DEAD",
    "SATURATED",
    "UNSEEN",
    "WEAK_LESION",
    "HealthMonitor",
    "LayerHealth",
    "firing_rates",
    "health_warnings",
    "lesion_effects",
    "lesion_predictions",
    "thresholds_of",
    "unseen_spikes",
]

DEAD = 0.001
"""Rate below which a neuron is dead, in spikes per step."""
SATURATED = 0.95
"""Rate above which a neuron is saturated, in spikes per step."""
WEAK_LESION = 0.01
"""Lesion effect below which spikes hardly affect the predictions, dimensionless."""
_MOST = 0.5
"""Rate up to which an initialisation may be advised to aim, in spikes per step."""


UNSEEN = (
    "fires outside of a SpikingLayer: health, rate penalty, lesions, comparisons and reports do not see its spikes; "
    "make it a neurozoo.core.layer.SpikingLayer"
)


@dataclass(frozen=True)
class LayerHealth:
    """How one spiking layer fires, over valid positions.

    Attributes:
        rate: Mean firing rate, in spikes a step.
        dead: Share of its neurons that are dead, see :data:`DEAD`.
        saturated: Share of its neurons that are saturated, see :data:`SATURATED`.
    """

    rate: float
    dead: float
    saturated: float


class HealthMonitor:
    """Counts the spikes of every layer over any number of forwards, of all processes that train together.

    A context around forwards, with :meth:`count` after each::

        with HealthMonitor(model) as monitor:
            for batch in batches:
                model(batch)
                monitor.count()
        layers = monitor.layers()
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._spiking = spiking_layers(model)
        self._fired: dict[str, Tensor] = {}
        self._steps: dict[str, Tensor | int] = {}
        self._thresholds: list[Tensor] = []

    def __enter__(self) -> HealthMonitor:
        self._recordings = ExitStack()
        self._firings = self._recordings.enter_context(recorded(self._model))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._recordings.close()

    @torch.no_grad()
    def count(self) -> None:
        """Add the spikes of the last forward."""
        for name, firing in self._firings.items():
            if name in self._spiking:
                # Counted in whole numbers: exact at any size, and no device lacks them.
                fired, steps = over_neurons(firing.spikes > 0, firing.valid)
                self._fired[name] = self._fired.get(name, 0) + fired
                self._steps[name] = self._steps.get(name, 0) + steps
        if (level := thresholds_of(self._firings)) is not None:
            self._thresholds.append(level)
        self._firings.clear()

    def layers(self) -> dict[str, LayerHealth]:
        """Return each layer's health over the counted forwards."""
        health = {}
        for name, fired in self._fired.items():
            steps = total(torch.as_tensor(self._steps[name], device=fired.device))
            rates = total(fired).cpu().double() / max(int(steps), 1)
            dead, saturated = (rates < DEAD).double().mean(), (rates > SATURATED).double().mean()
            health[name] = LayerHealth(float(rates.mean()), float(dead), float(saturated))
        return health

    def threshold(self) -> dict[str, float]:
        """Return the mean, smallest and largest threshold, and the reports of the model's modules."""
        if not self._thresholds:
            return {}
        seen = torch.cat(self._thresholds)
        values = {
            "mean": float(whole_mean(seen.mean(), len(seen))),
            "min": float(over_all(seen.min(), largest=False)),
            "max": float(over_all(seen.max(), largest=True)),
        }
        for _, module in trained_modules(self._model):
            values |= {name: float(value) for name, value in module.report().items()}
        return values

    def reports(self) -> dict[str, float]:
        """Return what modules report, by their names and the value's; empty if :meth:`threshold` has the reports."""
        if self._thresholds:
            return {}
        return {
            f"{path}.{name}".lstrip("."): float(value)
            for path, module in trained_modules(self._model)
            for name, value in module.report().items()
        }


def thresholds_of(firings: Mapping[str, Firing]) -> Tensor | None:
    """Return the threshold that a forward gave to its layers, ``[1]`` or ``[B]``; None if it gave none."""
    for firing in firings.values():
        if isinstance(firing.threshold, Tensor):
            return firing.threshold.detach().flatten()
    return None


def firing_rates(firing: Firing) -> Tensor:
    """Firing rate of each neuron, flat ``[N]``, over what is valid, differentiable.

    Where several processes train together it is the rate over all of their samples.
    """
    steps: Tensor | int
    if firing.counts is None:
        fired, steps = over_neurons(firing.spikes, firing.valid)
    else:
        fired, steps = firing.counts.spikes.sum(0).flatten(), firing.counts.steps.sum()
    count = steps.clamp(min=1) if isinstance(steps, Tensor) else steps
    return whole_mean(fired / count, steps)


def health_warnings(
    layers: Mapping[str, LayerHealth],
    threshold: Mapping[str, float],
    lesion: Mapping[str, Mapping[str, float]],
    recipe: Recipe,
) -> list[str]:
    """Return warnings for the user, each with its layer and what to do.

    Args:
        layers: Health by layer.
        threshold: Of :meth:`HealthMonitor.threshold`.
        lesion: Effects by kind and split, see :func:`lesion_effects`.
        recipe: The recipe that was trained; no warning advises what it has already.
    """
    warnings = []
    for name, layer in layers.items():
        if layer.dead > 0.5:
            warnings.append(
                f"{name}: {layer.dead:.0%} of its neurons are dead (rate {layer.rate:.2%}); "
                f"{', or '.join(_against_silence(name, recipe))}"
            )
        if layer.saturated > 0.5:
            warnings.append(
                f"{name}: {layer.saturated:.0%} of its neurons are saturated (rate {layer.rate:.2%}); "
                f"{', or '.join(_against_saturation(name, recipe))}"
            )
    weak = [
        f"{kind} ({split}) {effect:.4f}"
        for kind, by_split in lesion.items()
        for split, effect in by_split.items()
        if effect < WEAK_LESION
    ]
    if weak:
        warnings.append(
            f"lesion effect below {WEAK_LESION}: {', '.join(weak)}; the spikes hardly matter to the predictions: "
            f"{', or '.join(_for_spikes_that_matter(recipe))}"
        )
    if abs(threshold.get("kappa", 1.0)) < 0.01:
        warnings.append(
            f"kappa is {threshold['kappa']:.4f}: the dynamic threshold does nothing; model.parts.threshold=constant "
            "would give the same model"
        )
    elif "kappa" in threshold and threshold.get("max", 1.0) == threshold.get("min", 0.0):
        warnings.append(
            "the dynamic threshold is the same for every sample, as no two positions can be compared; "
            "model.parts.threshold=constant would give the same model"
        )
    return warnings


def _against_silence(layer: str, recipe: Recipe) -> Iterator[str]:
    """Yield what would make more neurons of a layer fire, and is not in the recipe."""
    initialisation = recipe.training.initialisation
    if initialisation.name != "fluctuation-driven":
        yield "set training.initialisation.name=fluctuation-driven"
    elif initialisation.firing_rate < _MOST:
        yield f"raise training.initialisation.firing_rate (it is {initialisation.firing_rate:g})"
    yield from _of_the_penalty(layer, recipe.training.rate_penalty, silent=True)


def _against_saturation(layer: str, recipe: Recipe) -> Iterator[str]:
    """Yield what would make neurons of a layer fire less, and is not in the recipe."""
    initialisation = recipe.training.initialisation
    if not recipe.data.standardise:
        yield "set data.standardise=true"
    if initialisation.name != "fluctuation-driven":
        yield "set training.initialisation.name=fluctuation-driven"
    yield from _of_the_penalty(layer, recipe.training.rate_penalty, silent=False)


def _of_the_penalty(layer: str, penalty: RatePenalty, *, silent: bool) -> Iterator[str]:
    """Yield what of the rate penalty would move a layer's rates away from 0, or else from 1."""
    own, key = penalty.of_layer(layer), "training.rate_penalty"
    if not penalty.weight:
        yield f"set {key}.weight=1"
    elif own is None:
        yield f"add {layer} to {key}.{'layers' if penalty.rates is None else 'rates'}"
    elif not penalty.gradient:
        yield f"set {key}.gradient=true"
    elif silent and penalty.lowers:  # which pulls every rate towards 0
        yield f"lower {key}.weight (it is {penalty.weight:g}, of {penalty.name})"
    elif silent and own.rate is not None and own.rate <= DEAD:
        yield f"raise {key}.{'rate' if penalty.rates is None else 'rates'} (it is {own.rate:g})"
    elif silent and own.name.endswith("bounds") and own.low <= DEAD:
        yield f"raise {key}.low (it is {own.low:g})"
    elif not silent and own.name.endswith("bounds") and own.high >= SATURATED:
        yield f"lower {key}.{'high' if penalty.rates is None else 'rates'} (it is {own.high:g})"
    else:
        yield f"raise {key}.weight (it is {penalty.weight:g})"


def _for_spikes_that_matter(recipe: Recipe) -> Iterator[str]:
    """Yield what would make the predictions depend on the spikes, and is not in the recipe."""
    yield f"train longer than training.epochs={recipe.training.epochs}"
    scaling = recipe.model.parts.get("scaling")
    if scaling is not None and scaling.name != "rate-gain":
        yield "set model.parts.scaling=rate-gain"
    elif scaling is not None:
        yield "raise model.parts.scaling.params.beta"
    if recipe.training.initialisation.name != "fluctuation-driven":
        yield "set training.initialisation.name=fluctuation-driven"


@torch.no_grad()
def unseen_spikes(model: Model, batch: Batch) -> list[str]:
    """Warnings for spikes that no recorder gets; the model and its buffers are restored."""
    training = model.training
    with frozen_statistics(model.eval()), unrecorded(model) as found, recorded(model) as firings:
        model(batch)
    model.train(training)
    idle = ", ".join(name for name in spiking_layers(model) if name not in firings)
    unseen = [f"{name or 'the model'} ({kind}) {UNSEEN}" for name, kind in found.items()]
    missed = [f"{idle}: not recorded; run it, or call `record` after running it step by step"] if idle else []
    return unseen + missed


def lesion_effects(
    model: Model, samples: SplitView, batch_size: int, device: torch.device | str = "cpu", seed: int = 0
) -> dict[str, float]:
    """Measure how far predictions move without the samples' own spikes.

    Mean absolute change of the predictions divided by their standard deviation, per quantity if they have units,
    dimensionless; see :func:`lesion_predictions`.

    Returns:
        Both kinds, NaN for fewer than two samples; empty if the model has nothing but spikes.
    """
    made = lesion_predictions(model, samples, batch_size, device, seed)
    if not made:
        return {}
    reference = made.pop("intact")
    # Quantities with units are scaled one by one, or the largest would dominate the mean.
    over = 0 if any(metric.unit == "target" for metric in model.problem.task.metrics) else None
    deviation = reference.std(over).clamp(min=1e-12)
    if len(samples) < 2:
        return dict.fromkeys(made, float("nan"))
    return {kind: float(((x - reference).abs().mean(over) / deviation).mean()) for kind, x in made.items()}


@torch.no_grad()
def lesion_predictions(
    model: Model, samples: SplitView, batch_size: int, device: torch.device | str = "cpu", seed: int = 0
) -> dict[str, Tensor]:
    """Predict a split with its spikes, and without the samples' own.

    ``permuted`` gives every sample the spike trains of another one of the split, at its own relative times if lengths
    differ; ``silent`` sets all spikes to 0. The spikes of one batch are held at a time. The model must be in evaluation
    mode; its running statistics stay as they are.

    Returns:
        Predictions ``[n, K]``: ``intact`` and both kinds; empty if the model has nothing but spikes.
    """
    if not model.works_without_spikes:
        return {}
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    # Each takes the trains of the next one in a random circle, so that none keeps its own.
    donor = torch.empty_like(order)
    donor[order] = order.roll(1)
    with frozen_statistics(model):
        intact, silent, permuted = [], [], []
        shares = [places[own_share(len(places))] for places in torch.split(torch.arange(len(samples)), batch_size)]
        mine = [places for places in shares if len(places)]
        for places in mine:
            # Each pass begins with the statistics of the last batch's end: the published threshold
            # is carried on, and must not be moved by the lesioned passes.
            batch, other = samples.batch(places).to(device), samples.batch(donor[places]).to(device)
            with frozen_statistics(model), recorded(model) as trains:
                model(other)
            with frozen_statistics(model), recorded(model, partial(_replaced, dict(trains))):
                permuted.append(_predictions(model, batch))
            with frozen_statistics(model), recorded(model, lambda _, own: torch.zeros_like(own.spikes)):
                silent.append(_predictions(model, batch))
            intact.append(_predictions(model, batch))

    def whole(passes: list[Tensor]) -> Tensor:
        rows, per_step = torch.cat(passes), model.problem.task.per_step
        return rows_of_all(rows) if per_step else at_their_places(rows, torch.cat(mine).to(device))

    return {kind: whole(made) for kind, made in (("intact", intact), ("permuted", permuted), ("silent", silent))}


def _predictions(model: Model, batch: Batch) -> Tensor:
    """Predictions ``[B, K]``; per step ``[n, K]`` of the steps that count."""
    task = model.problem.task
    made = task.predict(model(batch))
    if not task.per_step:
        return made
    return made.flatten(0, 1) if batch.target_valid is None else made[batch.target_valid]


def _replaced(trains: Mapping[str, Firing], name: str, own: Firing) -> Tensor:
    """Return the donors' trains at the relative times of the samples that get them, in the shape of ``own``."""
    theirs = trains[name]
    if theirs.valid is None or own.valid is None:
        return theirs.spikes
    # A donor without anything valid has no spikes to give.
    mask = theirs.valid.reshape(*theirs.valid.shape, *[1] * (theirs.spikes.dim() - theirs.valid.dim()))
    spikes = theirs.spikes * mask
    if own.valid.dim() == 3:  # positions, [1, B, L]
        return at_relative_times(spikes, theirs.valid[0], own.valid[0], own.valid.shape[2])
    # The positions are the steps: [T, B, ...] is the sequence [B, T, N].
    moved = at_relative_times(spikes.flatten(2).transpose(0, 1), theirs.valid.T, own.valid.T, len(own.valid))
    return moved.transpose(0, 1).reshape(own.spikes.shape)
