"""Spiking health: what fires, what is dead, what is saturated, and whether it matters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Batch, ThresholdPolicy, ZooModel
from neurozoo.core.layer import record_spikes
from neurozoo.core.processes import at_their_places, over_all, own_share, total, whole_mean
from neurozoo.nn.running import frozen_statistics
from neurozoo.nn.sequence import at_relative_times

__all__ = [
    "DEAD",
    "SATURATED",
    "WEAK_LESION",
    "HealthMonitor",
    "LayerHealth",
    "Samples",
    "health_warnings",
    "lesion_effects",
    "neuron_rates",
    "record_thresholds",
]

DEAD = 0.001
"""A neuron that fires in fewer than this share of its steps is dead, dimensionless."""
SATURATED = 0.95
"""A neuron that fires in more than this share of its steps is saturated, dimensionless."""
WEAK_LESION = 0.01
"""A lesion effect below this says that the spikes hardly matter, dimensionless."""


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


@contextmanager
def record_thresholds(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the thresholds, ``[1]`` or ``[B]``, that the model's policy gives inside the block."""
    seen: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, threshold: seen.append(threshold.detach().flatten()))
        for module in model.modules()
        if isinstance(module, ThresholdPolicy)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class HealthMonitor:
    """Counts the spikes of every layer over any number of forwards, and follows the threshold.

    What it found is that of all processes which train together.

    Use it as a context around forwards, calling :meth:`count` after each::

        with HealthMonitor(model) as monitor:
            for batch in batches:
                model(batch)
                monitor.count(batch)
        layers = monitor.layers()
    """

    def __init__(self, model: ZooModel) -> None:
        self._model = model
        self._fired: dict[str, Tensor] = {}
        self._steps: dict[str, Tensor | int] = {}
        self._thresholds: list[Tensor] = []

    def __enter__(self) -> HealthMonitor:
        self._recordings = ExitStack()
        self._spikes = self._recordings.enter_context(record_spikes(self._model))
        self._thresholds = self._recordings.enter_context(record_thresholds(self._model))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._recordings.close()

    @torch.no_grad()
    def count(self, batch: Batch) -> None:
        """Take in the spikes of the last forward, which was of ``batch``."""
        masks = self._model.layer_masks(batch)
        for name, spikes in self._spikes.items():
            fired, steps = _spikes_by_neuron(spikes, masks[name])
            self._fired[name] = self._fired.get(name, 0) + fired
            self._steps[name] = self._steps.get(name, 0) + steps

    def layers(self) -> dict[str, LayerHealth]:
        """Each layer's health over all that was counted."""
        health = {}
        for name, fired in self._fired.items():
            steps = total(torch.as_tensor(self._steps[name], device=fired.device))
            rates = total(fired).cpu().double() / max(int(steps), 1)
            dead, saturated = (rates < DEAD).double().mean(), (rates > SATURATED).double().mean()
            health[name] = LayerHealth(float(rates.mean()), float(dead), float(saturated))
        return health

    def threshold(self) -> dict[str, float]:
        """Mean, smallest and largest threshold seen, and what the policy reports of itself."""
        if not self._thresholds:
            return {}
        seen = torch.cat(self._thresholds)
        values = {
            "mean": float(whole_mean(seen.mean(), len(seen))),
            "min": float(over_all(seen.min(), largest=False)),
            "max": float(over_all(seen.max(), largest=True)),
        }
        for module in self._model.modules():
            if isinstance(module, ThresholdPolicy):
                values |= {name: float(value) for name, value in module.report().items()}
        return values


def _spikes_by_neuron(spikes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Spikes of each neuron ``[N]`` and the steps they were counted over, of ``[T, B, L, N]``."""
    # Counted in whole numbers: exact at any size, and no device lacks them.
    if mask is None:
        return (spikes > 0).sum((0, 1, 2)), spikes[..., 0].numel()
    steps = mask.expand(spikes.shape[:3])  # of a mask [B, L], all steps
    return ((spikes > 0) & steps[..., None]).sum((0, 1, 2)), steps.sum()


def neuron_rates(spikes: Tensor, mask: Tensor | None) -> Tensor:
    """Firing rate of each neuron ``[N]`` over what is valid, differentiable, of ``[T, B, L, N]``.

    Where several processes train together it is the rate over all of their samples.

    Args:
        spikes: What a layer put out.
        mask: ``[B, L]``, ``[T, B, 1]`` where the steps are the sequence, or None where everything counts.
    """
    if mask is None:
        return whole_mean(spikes.mean((0, 1, 2)), spikes[..., 0].numel())
    if mask.dim() == 3:
        rates = (spikes * mask[..., None]).sum((0, 1, 2)) / mask.sum().clamp(min=1)
    else:
        rates = (spikes.mean(0) * mask[..., None]).sum((0, 1)) / mask.sum().clamp(min=1)
    return whole_mean(rates, mask.sum())


def health_warnings(
    layers: Mapping[str, LayerHealth], threshold: Mapping[str, float], lesion: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """What a user should look at, by name, with what to do."""
    warnings = []
    for name, layer in layers.items():
        if layer.dead > 0.5:
            warnings.append(
                f"{name}: {layer.dead:.0%} of its neurons are dead (rate {layer.rate:.2%}); set "
                "training.initialisation.name=fluctuation-driven, or raise training.rate_penalty.weight"
            )
        if layer.saturated > 0.5:
            warnings.append(
                f"{name}: {layer.saturated:.0%} of its neurons are saturated (rate {layer.rate:.2%}); set "
                "data.standardise=true, or raise training.rate_penalty.weight"
            )
    weak = [
        f"{kind} ({split}) {effect:.4f}"
        for kind, by_split in lesion.items()
        for split, effect in by_split.items()
        if effect < WEAK_LESION
    ]
    if weak:
        warnings.append(
            f"lesion effect below {WEAK_LESION}: {', '.join(weak)}; the spikes hardly matter to the predictions: train "
            "longer, or raise what they can do (model.parts.scaling=rate-gain and its beta, "
            "training.initialisation.name=fluctuation-driven)"
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


class Samples(Protocol):
    """A split of the data: how many samples there are, and any of them."""

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Batch:
        """The samples at these places."""


@torch.no_grad()
def lesion_effects(
    model: ZooModel, samples: Samples, batch_size: int, device: torch.device | str = "cpu", seed: int = 0
) -> dict[str, float]:
    """Whether spikes matter: how far predictions move when the spikes are taken away.

    Mean absolute change of the predicted probabilities, divided by the probabilities' standard
    deviation, dimensionless: ``permuted`` gives every sample the spike trains of another one of
    the split (read at its own relative times, where lengths differ), ``silent`` sets all spikes
    of the branches' outputs to 0. The spikes of one batch are held at a time.

    Args:
        model: In evaluation mode; its running statistics stay as they are.
        samples: What to predict.
        batch_size: Samples at a time; it decides nothing in a model that is sound.
        device: Where the model is.
        seed: Of the permutation.

    Returns:
        ``permuted`` is NaN where there are not two samples. Nothing where the model has no branches: where the
        spikes are all there is, nothing is left without them.
    """
    if not model.branches_by_name():
        return {}
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed))
    # Each takes the trains of the next one in a random circle: nobody keeps their own.
    donor = torch.empty_like(order)
    donor[order] = order.roll(1)
    lesion = _Lesion(model)
    with frozen_statistics(model):
        intact, silent, permuted = [], [], []
        shares = [places[own_share(len(places))] for places in torch.split(torch.arange(len(samples)), batch_size)]
        mine = [places for places in shares if len(places)]
        for places in mine:
            # Each pass begins with the statistics of the last batch's end: the published threshold
            # is carried on, and must not be moved by the lesioned passes.
            batch, other = samples.batch(places).to(device), samples.batch(donor[places]).to(device)
            with frozen_statistics(model):
                given = lesion.aligned(lesion.trains(other), other, batch)
            with frozen_statistics(model):
                permuted.append(lesion.predict(batch, partial(_given, given)))
            with frozen_statistics(model):
                silent.append(lesion.predict(batch, lambda _name, spikes: torch.zeros_like(spikes)))
            intact.append(torch.sigmoid(model(batch)))

    def whole(passes: list[Tensor]) -> Tensor:
        return at_their_places(torch.cat(passes), torch.cat(mine).to(device))

    reference = whole(intact)
    deviation = reference.std().clamp(min=1e-12)
    effects = {
        kind: float((whole(passes) - reference).abs().mean() / deviation)
        for kind, passes in (("permuted", permuted), ("silent", silent))
    }
    return effects if len(samples) > 1 else {"permuted": float("nan"), "silent": float("nan")}


def _given(trains: Mapping[str, Tensor], name: str, _spikes: Tensor) -> Tensor:
    return trains[name]


class _Lesion:
    """Replaces what the last activation of each spiking branch puts out."""

    def __init__(self, model: ZooModel) -> None:
        self._model = model
        points = {id(stages[-1][1]) for stages in model.branches_by_name().values()}
        self._points = {name: module for name, module in model.named_modules() if id(module) in points}

    def predict(self, batch: Batch, replace: Callable[[str, Tensor], Tensor | None]) -> Tensor:
        """Probabilities ``[B, K]`` with outputs replaced; None leaves one as it is."""

        def hook(name: str) -> Callable[[nn.Module, object, Tensor], Tensor | None]:
            return lambda _module, _inputs, spikes: replace(name, spikes)

        handles = [module.register_forward_hook(hook(name)) for name, module in self._points.items()]
        try:
            return torch.sigmoid(self._model(batch))
        finally:
            for handle in handles:
                handle.remove()

    def trains(self, batch: Batch) -> dict[str, Tensor]:
        """What the branches put out for a batch, ``[T, B, L, N]``."""
        seen: dict[str, Tensor] = {}
        self.predict(batch, lambda name, spikes: seen.update({name: spikes}))
        return seen

    def aligned(self, trains: Mapping[str, Tensor], donors: Batch, batch: Batch) -> dict[str, Tensor]:
        """The donors' trains at the relative times of the samples that get them."""
        own, theirs = self._model.layer_masks(batch), self._model.layer_masks(donors)
        given = {}
        for name, spikes in trains.items():
            mask, donor_mask = own[name], theirs[name]
            given[name] = spikes if mask is None or donor_mask is None else _moved(spikes, donor_mask, mask)
        return given


def _moved(spikes: Tensor, donor_mask: Tensor, mask: Tensor) -> Tensor:
    """Trains ``[T, B, L, N]``, with what is valid read at another mask's relative places."""
    # A donor without anything valid has no spikes to give.
    spikes = spikes * donor_mask[..., None]
    if mask.dim() == 2:
        return at_relative_times(spikes, donor_mask, mask, mask.shape[1])
    # Its places are steps: [T, B, 1, N] is the sequence [B, T, N].
    moved = at_relative_times(spikes[:, :, 0].transpose(0, 1), donor_mask[..., 0].T, mask[..., 0].T, len(mask))
    return moved.transpose(0, 1)[:, :, None]
