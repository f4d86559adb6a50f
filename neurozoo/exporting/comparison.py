"""What a written program computes, next to the model that it was written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.recording import neuron_layers, spiking_layers
from neurozoo.core.signals import Batch
from neurozoo.exporting.program import OUTPUTS, Run, inputs_of, outputs_of

__all__ = ["TOLERANCE", "Comparison", "Flips", "at_least_two", "compare", "flips"]

TOLERANCE = 1e-5
"""The largest difference of an output that counts as equal, absolute plus relative."""


@dataclass(frozen=True)
class Comparison:
    """A program's outputs next to the model's.

    Attributes:
        samples: How many were compared.
        different: How many differ by more than :data:`TOLERANCE` in outputs or predictions.
        largest: Largest absolute difference of any, infinite for NaN in one of the two.
        worst: Index of the batch that has it.
    """

    samples: int
    different: int
    largest: float
    worst: int


@dataclass(frozen=True)
class Flips:
    """Spikes that a program has and the model has not, or the reverse.

    Attributes:
        layer: The first layer with one, in order of definition, with its synapse.
        different: Spikes of that layer that differ.
        compared: Values, spikes or none, of that layer.
        samples: How many samples have a spike that differs in any layer.
    """

    layer: str
    different: int
    compared: int
    samples: int


def compare(model: Model, run: Run, batches: Sequence[Batch]) -> Comparison:
    """Compare a program with its model on each batch, and on its first sample alone."""
    different, largest, worst, samples = 0, 0.0, 0, 0
    for index, batch in enumerate((*batches, batches[0].rows(0, 1))):
        inputs = inputs_of(model, batch)
        wanted, found = outputs_of(model, inputs), run(inputs)
        wrong = torch.zeros(len(batch), dtype=torch.bool)
        for name in OUTPUTS:
            apart = _apart(found[name], wanted[name])
            wrong |= (apart > TOLERANCE + TOLERANCE * wanted[name].abs()).flatten(1).any(1)
            if float(apart.max()) > largest:
                largest, worst = float(apart.max()), index % len(batches)
        if index == len(batches):  # a sample again, alone
            different = different or int(wrong.sum())
            break
        different += int(wrong.sum())
        samples += len(batch)
    return Comparison(samples, different, largest, worst)


def _apart(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the absolute differences: infinite where shapes or NaN differ, 0 where both are the same."""
    if found.shape != wanted.shape:
        return torch.full_like(wanted, torch.inf)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    return torch.where(same, 0.0, (found - wanted).abs().nan_to_num(nan=torch.inf))


def flips(model: Model, run: Run, batch: Batch) -> Flips | None:
    """Count the spikes that differ in a batch; None if there are none.

    Args:
        model: The model.
        run: A program that returns the spikes too.
        batch: Where outputs differed.
    """
    inputs = inputs_of(model, batch)
    wanted, found = outputs_of(model, inputs, spikes=True), run(inputs)
    by_layer = {name: found[name] != wanted[name] for name in spiking_layers(model)}
    layer = next((name for name, off in by_layer.items() if off.any()), None)
    if layer is None:
        return None
    fell = torch.zeros(len(batch), dtype=torch.bool)
    for off in by_layer.values():
        if off.dim() > 1 and off.shape[1] == len(batch):  # [T, B, ...], but for layers that merge B with another axis
            fell |= off.transpose(0, 1).flatten(1).any(1)
    synapse = neuron_layers(model)[layer].synapse
    name = layer if synapse is None else f"{layer} ({type(synapse).__name__})"
    return Flips(name, int(by_layer[layer].sum()), by_layer[layer].numel(), int(fell.sum()))


def at_least_two(batch: Batch) -> Batch:
    """Return two samples: torch.export takes one for a number that is always one."""
    if len(batch) > 1:
        return batch.rows(0, 2)
    masks = {name: None if each.valid is None else torch.cat([each.valid] * 2) for name, each in batch.signals.items()}
    return Batch.of({name: torch.cat([each.values] * 2) for name, each in batch.signals.items()}, masks)
