"""Spiking health: what fires, what is dead, what is saturated, and whether it matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.interfaces import Batch, ThresholdPolicy, ZooModel
from neurozoo.nn.neurons import record_spikes
from neurozoo.nn.sequence import at_relative_times

__all__ = [
    "DEAD",
    "SATURATED",
    "HealthMonitor",
    "LayerHealth",
    "frozen_statistics",
    "health_warnings",
    "lesion_effects",
    "neuron_rates",
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


class HealthMonitor:
    """Counts the spikes of every layer over any number of forwards, and follows the threshold.

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
        self._recording = record_spikes(self._model)
        self._spikes = self._recording.__enter__()
        self._handles = [
            module.register_forward_hook(lambda _m, _i, level: self._thresholds.append(level.detach().flatten()))
            for module in self._model.modules()
            if isinstance(module, ThresholdPolicy)
        ]
        return self

    def __exit__(self, *exception: Any) -> None:
        self._recording.__exit__(*exception)
        for handle in self._handles:
            handle.remove()

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
            rates = fired / torch.as_tensor(self._steps[name]).clamp(min=1)
            dead, saturated = (rates < DEAD).double().mean(), (rates > SATURATED).double().mean()
            health[name] = LayerHealth(float(rates.mean()), float(dead), float(saturated))
        return health

    def threshold(self) -> dict[str, float]:
        """Mean, smallest and largest threshold seen, and what the policy reports of itself."""
        if not self._thresholds:
            return {}
        seen = torch.cat(self._thresholds)
        values = {"mean": float(seen.mean()), "min": float(seen.min()), "max": float(seen.max())}
        for module in self._model.modules():
            if isinstance(module, ThresholdPolicy):
                values |= {name: float(value) for name, value in module.report().items()}
        return values


def _spikes_by_neuron(spikes: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Spikes of each neuron ``[N]`` and the steps they were counted over, of ``[T, B, L, N]``."""
    if mask is None:
        return spikes.double().sum((0, 1, 2)), spikes[..., 0].numel()
    return (spikes.sum(0) * mask[..., None]).double().sum((0, 1)), spikes.shape[0] * mask.sum()


def neuron_rates(spikes: Tensor, mask: Tensor | None) -> Tensor:
    """Firing rate of each neuron ``[N]`` over valid positions, differentiable, of ``[T, B, L, N]``."""
    if mask is None:
        return spikes.mean((0, 1, 2))
    return (spikes.mean(0) * mask[..., None]).sum((0, 1)) / mask.sum().clamp(min=1)


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
    effects = [effect for by_split in lesion.values() for effect in by_split.values()]
    if effects and max(effects) < WEAK_LESION:
        warnings.append(
            f"lesion effect: without the spikes, or with another sample's, predictions move by at most "
            f"{max(effects):.4f} of their deviation, so the spikes hardly matter; train longer, or raise "
            "what they can do: model.parts.scaling=rate-gain, its beta, training.initialisation.name=fluctuation-driven"
        )
    if abs(threshold.get("kappa", 1.0)) < 0.01:
        warnings.append(
            f"kappa is {threshold['kappa']:.4f}: the dynamic threshold does nothing; model.parts.threshold=constant "
            "would give the same model"
        )
    return warnings


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Put every buffer back at the end: what a measurement runs through the model leaves no trace."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in model.named_buffers():
            buffer.data.copy_(kept[name])


@torch.no_grad()
def lesion_effects(model: ZooModel, batches: Iterable[Batch], seed: int = 0) -> dict[str, float]:
    """Whether spikes matter: how far predictions move when the spikes are taken away.

    Mean absolute change of the predicted probabilities, divided by the probabilities' standard
    deviation, dimensionless: ``permuted`` gives every sample the spike trains of another one of
    its batch (read at its own relative times, where lengths differ), ``silent`` sets all
    spikes of the branches' outputs to 0.

    Args:
        model: In evaluation mode; its running statistics stay as they are.
        batches: What to predict; needs two samples in some batch.
        seed: Of the permutation.
    """
    points = {id(stages[-1][1]) for stages in model.branches_by_name().values()}
    names = [name for name, module in model.named_modules() if id(module) in points]
    kept = list(batches)
    passes: dict[str, Tensor] = {}
    for kind in ("intact", "permuted", "silent"):
        generator = torch.Generator().manual_seed(seed)
        predictions = []
        with frozen_statistics(model):
            for batch in kept:
                orders = torch.randperm(len(batch), generator=generator)
                # Each takes the trains of the next one in a random circle: nobody keeps their own.
                donor = torch.empty_like(orders)
                donor[orders] = orders.roll(1)
                with _lesioned(model, names, kind, batch, donor):
                    predictions.append(torch.sigmoid(model(batch)))
        passes[kind] = torch.cat(predictions)
    deviation = passes["intact"].std().clamp(min=1e-12)
    return {kind: float((passes[kind] - passes["intact"]).abs().mean() / deviation) for kind in ("permuted", "silent")}


@contextmanager
def _lesioned(model: ZooModel, names: list[str], kind: str, batch: Batch, donor: Tensor) -> Iterator[None]:
    masks = model.layer_masks(batch)

    def hook(name: str):  # type: ignore[no-untyped-def]
        def replace(_module: nn.Module, _inputs: object, spikes: Tensor) -> Tensor:
            if kind == "silent":
                return torch.zeros_like(spikes)
            mask, rows = masks[name], donor.to(spikes.device)
            given = spikes[:, rows]
            return given if mask is None else at_relative_times(given, mask[rows], mask, spikes.shape[2])

        return replace

    handles = [] if kind == "intact" else [model.get_submodule(n).register_forward_hook(hook(n)) for n in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
