"""Penalties on the spikes of a model's layers, by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from neurozoo.core.layer import Firing
from neurozoo.core.processes import processes, total
from neurozoo.errors import UserError
from neurozoo.evaluation.health import firing_rates
from neurozoo.nn.fan_out import FanOut
from neurozoo.recipe.schema import RatePenalty, TrainingSection

__all__ = ["FORMS", "check_fan_outs", "check_layers", "operations", "penalties_of", "penalty"]

Form = Callable[[Tensor, RatePenalty], Tensor]

FORMS: Mapping[str, Form] = {
    "squared-bounds": lambda r, p: torch.relu(p.low - r).square() + torch.relu(r - p.high).square(),
    "bounds": lambda r, p: torch.relu(p.low - r) + torch.relu(r - p.high),
    "target": lambda r, p: (r - (p.rate or 0.0)).square(),
    "total": lambda n, p: n,
    "total-squared": lambda n, p: n.square(),
}
"""Penalty of each neuron, by name, of its firing rate r ``[N]`` in spikes a step, or its number of spikes n ``[N]``.

``operations`` is not of neurons, see :func:`operations`.
"""


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
        UserError: A penalty has a name or pattern that no layer matches.
    """
    there = list(spiking)
    for name, each in penalties.items():
        written = tuple(each.rates or each.layers or ())
        unknown = [one for one in written if one not in there and not fnmatch.filter(there, one)]
        if unknown:
            raise UserError(
                f"training ({name}): the model has no spiking layer called {', '.join(unknown)}; there are: "
                f"{', '.join(there) or 'none'}"
            )


def check_fan_outs(penalties: Mapping[str, RatePenalty], fan_outs: Mapping[str, FanOut]) -> None:
    """Refuse penalties on operations that no spike of their layers causes.

    Args:
        penalties: By the name of each.
        fan_outs: Of the model's spiking layers; waits for the device.

    Raises:
        UserError: The spikes of all its layers reach no synapse.
    """
    reaching = [name for name, each in fan_outs.items() if bool(each.ahead.any()) or each.back is not None]
    for name, each in penalties.items():
        if each.name == "operations" and not any(each.of_layer(layer) for layer in reaching):
            raise UserError(
                f"training ({name}): no synapse gets the spikes of {', '.join(each.patterns)}; layers whose spikes "
                f"reach one: {', '.join(reaching) or 'none'}"
            )


def penalty(
    chosen: RatePenalty,
    rates: Mapping[str, Tensor],
    firings: Mapping[str, Firing],
    fan_outs: Mapping[str, FanOut] | None = None,
) -> Tensor | float:
    """Return a penalty, weighted and differentiable, of all processes together; 0 if none of its layers ran.

    Args:
        chosen: The recipe's.
        rates: Firing rates ``[N]`` of each spiking layer, see :func:`~neurozoo.evaluation.health.firing_rates`.
        firings: The firings that they are of.
        fan_outs: Of the same layers; ``operations`` needs them.
    """
    of = {name: own for name in rates if (own := chosen.of_layer(name)) is not None}
    if chosen.name == "operations":
        counted = operations({name: rates[name] for name in of}, firings, fan_outs or {})
        if isinstance(counted, Tensor) and not chosen.gradient:
            counted = counted.detach()
        if chosen.operations is None:
            return chosen.weight * counted / 1e6
        excess = counted / chosen.operations - 1
        return chosen.weight * torch.relu(excess) if isinstance(excess, Tensor) else 0.0
    summed: Tensor | float = 0.0
    for name, own in of.items():
        values = rates[name]
        if chosen.name.startswith("total"):
            values = values * _steps(firings[name], chosen.samples == "mean")
        if not chosen.gradient:
            values = values.detach()
        summed = summed + FORMS[own.name](values, own).sum()
    if chosen.over == "mean":
        summed = summed / max(sum(rates[name].numel() for name in of), 1)
    return chosen.weight * summed


def operations(
    rates: Mapping[str, Tensor], firings: Mapping[str, Firing], fan_outs: Mapping[str, FanOut]
) -> Tensor | float:
    """Return the synaptic operations a sample that spikes of some layers cause; differentiable, of all processes.

    Each neuron's spikes at valid steps times its fan-out. Recurrent weights get those that a valid step follows.

    Args:
        rates: Firing rates ``[N]`` of these layers.
        firings: The firings that they are of.
        fan_outs: Fan-outs of these layers.

    Returns:
        0-d; 0 if none of the layers ran.
    """
    summed: Tensor | float = 0.0
    for name, rate in rates.items():
        firing, fan = firings[name], fan_outs[name]
        summed = summed + _reached(rate * _steps(firing, True), fan.ahead)
        if fan.back is not None and firing.counts is not None:
            assert firing.counts.followed is not None
            returning = replace(firing, counts=firing.counts._replace(spikes=firing.counts.followed))
            summed = summed + _reached(firing_rates(returning) * _steps(returning, True), fan.back)
        elif fan.back is not None and len(firing.spikes) > 1:
            valid = firing.valid
            after = valid if valid is None or len(valid) == 1 else valid[1:]
            returning = replace(firing, spikes=firing.spikes[:-1], valid=after)
            summed = summed + _reached(firing_rates(returning) * _steps(returning, True), fan.back)
    return summed


def _reached(spikes: Tensor, fan: Tensor) -> Tensor:
    """Return the operations of spikes ``[N]`` a sample, each with its fan-out.

    Where positions are neurons on one side only, as in batches without padding, they are the slower axis.
    """
    if spikes.numel() > fan.numel():
        spikes = spikes.reshape(-1, fan.numel()).sum(0)
    elif spikes.numel() < fan.numel():
        fan = fan.reshape(-1, spikes.numel()).mean(0)
    return (spikes * fan).sum()


def _steps(firing: Firing, by_sample: bool) -> Tensor | int:
    """Return the steps that a neuron's rate is the mean over, of all processes; or their mean over samples."""
    length, samples = firing.spikes.shape[:2]
    if firing.valid is None and firing.counts is None and processes() == 1:
        return length if by_sample else length * samples
    device = firing.spikes.device
    if firing.counts is not None:
        counted = total(firing.counts.steps.sum())
    elif firing.valid is None:
        counted = total(torch.tensor(length * samples, device=device))
    else:
        counted = total(firing.valid.expand(length, *firing.valid.shape[1:]).sum())
    return counted / total(torch.tensor(samples, device=device)).clamp(min=1) if by_sample else counted
