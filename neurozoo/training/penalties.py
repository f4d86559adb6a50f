"""Penalties on the spikes of a model's layers, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from neurozoo.core.layer import Firing
from neurozoo.core.processes import processes, total
from neurozoo.errors import UserError
from neurozoo.recipe.schema import RatePenalty, TrainingSection

__all__ = ["FORMS", "check_layers", "penalties_of", "penalty"]

Form = Callable[[Tensor, RatePenalty], Tensor]

FORMS: Mapping[str, Form] = {
    "squared-bounds": lambda r, p: torch.relu(p.low - r).square() + torch.relu(r - p.high).square(),
    "bounds": lambda r, p: torch.relu(p.low - r) + torch.relu(r - p.high),
    "target": lambda r, p: (r - (p.rate or 0.0)).square(),
    "total": lambda n, p: n,
    "total-squared": lambda n, p: n.square(),
}
"""Penalty of each neuron, by name: of its firing rate r ``[N]`` in spikes a step, or its number of spikes n ``[N]``."""


def penalties_of(training: TrainingSection) -> dict[str, RatePenalty]:
    """Return the penalties of a recipe that are turned on, by the name under which each is logged.

    ``rate_penalty`` is logged as such, those of ``penalties`` as ``penalty_NAME``; a second one of a name has its place
    in the list appended.
    """
    found = {"rate_penalty": training.rate_penalty}
    for place, each in enumerate(training.penalties):
        name = f"penalty_{each.name}"
        found[name if name not in found else f"{name}_{place}"] = each
    return {name: each for name, each in found.items() if each.weight > 0}


def check_layers(penalties: Mapping[str, RatePenalty], spiking: Iterable[str]) -> None:
    """Refuse penalties on layers that a model does not have.

    Args:
        penalties: By the name of each.
        spiking: Names of the model's spiking layers.

    Raises:
        UserError: A penalty names another layer.
    """
    there = list(spiking)
    for name, each in penalties.items():
        if unknown := [layer for layer in each.layers or () if layer not in there]:
            raise UserError(
                f"training ({name}): the model has no spiking layer called {', '.join(unknown)}; there are: "
                f"{', '.join(there) or 'none'}"
            )


def penalty(chosen: RatePenalty, rates: Mapping[str, Tensor], firings: Mapping[str, Firing]) -> Tensor | float:
    """Return a penalty, weighted and differentiable, of all processes together; 0 if none of its layers ran.

    Args:
        chosen: The recipe's.
        rates: Firing rates ``[N]`` of each spiking layer, see :func:`~neurozoo.evaluation.health.firing_rates`.
        firings: The firings that they are of.
    """
    names = [name for name in rates if chosen.layers is None or name in chosen.layers]
    summed: Tensor | float = 0.0
    for name in names:
        values = rates[name]
        if chosen.name.startswith("total"):
            values = values * _steps(firings[name], chosen.samples == "mean")
        if not chosen.gradient:
            values = values.detach()
        summed = summed + FORMS[chosen.name](values, chosen).sum()
    if chosen.over == "mean":
        summed = summed / max(sum(rates[name].numel() for name in names), 1)
    return chosen.weight * summed


def _steps(firing: Firing, by_sample: bool) -> Tensor | int:
    """Return the steps that a neuron's rate is the mean over, of all processes; or their mean over samples."""
    length, samples = firing.spikes.shape[:2]
    if firing.valid is None and processes() == 1:
        return length if by_sample else length * samples
    device = firing.spikes.device
    if firing.valid is None:
        counted = total(torch.tensor(length * samples, device=device))
    else:
        counted = total(firing.valid.expand(length, *firing.valid.shape[1:]).sum())
    return counted / total(torch.tensor(samples, device=device)).clamp(min=1) if by_sample else counted
