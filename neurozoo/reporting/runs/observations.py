"""What a run's best weights do on samples: the spikes of some, and what the labels look at in all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, UserError
from neurozoo.evaluation.evaluate import check_data
from neurozoo.heads.label_decoder import LabelDecoderHead, record_label_attention
from neurozoo.models.build import open_data
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.runs.device import choose_device
from neurozoo.runs.loading import load

__all__ = ["Attention", "Looked", "SpikeTrains", "Told", "look"]

Told = Callable[[str, int, int], None]
"""Gets the progress: what is done, how much of it, of how much."""

SPLIT = "valid"
_STEPS = 600
_NEURONS = 64


@dataclass(frozen=True)
class SpikeTrains:
    """What a layer fired for a sample, over its valid positions.

    Attributes:
        sample: Its name.
        layer: Dotted name.
        spikes: ``[N, S]``, at most 64 neurons, evenly chosen, and 600 steps.
        positions: How many positions the S steps are.
        neurons: How many the layer has.
        cut: Whether there are more steps.
        rate: Mean firing rate of all neurons over all valid steps, in spikes a step; 0 where no step is valid.
    """

    sample: str
    layer: str
    spikes: NDArray[np.bool_]
    positions: int
    neurons: int
    cut: bool
    rate: float


@dataclass(frozen=True)
class Attention:
    """What the labels looked at, mean over samples.

    Attributes:
        weights: By modality, of each label ``[K]``; they add up to 1.
        shares: By modality, its share of the rows that could be looked at.
        samples: How many samples.
    """

    weights: Mapping[str, Sequence[float]]
    shares: Mapping[str, float]
    samples: int


@dataclass(frozen=True)
class Looked:
    """What a run's model did.

    Attributes:
        trains: Spikes by sample and layer.
        attention: None where there is none; then ``why`` says it.
        why: Why there is no attention.
    """

    trains: Sequence[SpikeTrains] = ()
    attention: Attention | None = None
    why: str = ""


def look(run: ReportedRun, samples: Sequence[str], first: int, *, data_root: str | None = None, told: Told) -> Looked:
    """Run the model of a run on samples of valid.

    Args:
        run: Its best weights are used.
        samples: Names of those whose spikes are wanted.
        first: How many from the first on, where none is named.
        data_root: A store, where it is not where the recipe says.
        told: Gets the progress.

    Raises:
        NeurozooError: The data or the weights are not there, or another's; or the model cannot be built here.
        UserError: There is no such sample.
    """
    trained = load(run.folder)
    recipe = trained.recipe
    if data_root is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": data_root})})
    view = open_data(recipe)
    check_data(view, trained)
    if view.description.checksum != run.checksum:
        raise DataError(f"the data of the name {run.data} that is here is not what it was trained on")
    try:
        device = choose_device(recipe.training.device)
    except UserError:
        device = choose_device("auto")  # trained on another machine
    model = trained.module.to(device).eval()
    with torch.no_grad(), frozen_statistics(model):
        ids = view.split(SPLIT).ids
        trains = [
            each
            for sample in _chosen(ids, samples, first)
            for each in _trains(model, view, sample, ids.index(sample), device)
        ]
        attention, why = _attention(model, view, recipe.evaluation.batch_size, device, told)
    return Looked(trains, attention, why)


def _chosen(ids: Sequence[str], wanted: Sequence[str], first: int) -> Sequence[str]:
    unknown = [each for each in wanted if each not in set(ids)]
    if unknown:
        raise UserError(
            f"{SPLIT} has no sample called {unknown[0]!r}; it has {len(ids):,}, such as {', '.join(ids[:3])}"
        )
    return wanted or ids[:first]


def _trains(model: Model, view: DataView, sample: str, place: int, device: torch.device) -> list[SpikeTrains]:
    """A sample alone, so that no other one's features decide its spikes."""
    batch = view.split(SPLIT).batch(torch.tensor([place])).to(device)
    with recorded(model) as firings:
        model(batch)
    spiking = spiking_layers(model)
    return [_train(sample, name, firing) for name, firing in firings.items() if name in spiking]


def _train(sample: str, layer: str, firing: Firing) -> SpikeTrains:
    """A sample's spikes ``[T, 1, ...]``, one row a neuron.

    Where a mask covers positions, ``[1, 1, L]``, the T steps of a position stand together. Every axis that the mask
    does not cover is the neurons': N, or the C H W places of a feature map.
    """
    fired = (firing.spikes[:, 0] > 0).cpu()  # [T, ...]
    steps = 1
    if firing.valid is None:
        rows = fired
    elif len(firing.valid) == 1 and firing.valid.dim() > 2:  # positions, each held for T steps
        mask = firing.valid[0, 0].cpu()
        rows, steps = fired.movedim(0, mask.dim())[mask].flatten(0, 1), len(fired)
    else:  # each step, or position and step, counts or not
        mask = firing.valid[:, 0].cpu()
        rows = fired[mask.expand(len(fired), *mask.shape[1:])]
    rows = rows.flatten(1)  # [S, N]
    neurons = rows.shape[1]
    chosen = np.unique(np.linspace(0, neurons - 1, min(neurons, _NEURONS)).astype(int))
    shown = rows[: max(_STEPS // steps, 1) * steps].numpy()[:, chosen].T
    rate = float(rows.double().mean()) if rows.numel() else 0.0
    cut = shown.shape[1] < rows.shape[0]
    return SpikeTrains(sample, layer, shown, shown.shape[1] // steps, neurons, cut, rate)


def _attention(
    model: Model, view: DataView, batch_size: int, device: torch.device, told: Told
) -> tuple[Attention | None, str]:
    if not any(isinstance(module, LabelDecoderHead) for module in model.modules()):
        return None, "it has no label decoder, whose attention to the sequence is shown here"
    weights: dict[str, Tensor] = {}
    shares: dict[str, Tensor] = {}
    samples, seen, size = 0, 0, len(view.split(SPLIT))
    for batch in view.batches(SPLIT, batch_size):
        with record_label_attention(model) as seen_by_labels:
            model(batch.to(device))
        (looked,) = seen_by_labels
        own, rows = looked.by_modality()
        if not own:
            return None, "its fusion does not say which rows of its sequence are whose"
        there = looked.valid.any(1)  # a sample without a valid row looks at nothing
        for name in own:
            weights[name] = own[name][there].double().sum(0).cpu() + weights.get(name, 0)
            shares[name] = rows[name][there].double().sum(0).cpu() + shares.get(name, 0)
        samples, seen = samples + int(there.sum()), seen + len(batch)
        told("what the labels look at", seen, size)
    if not samples:
        return None, f"no sample of {SPLIT} has a valid position"
    return Attention(
        {name: (total / samples).tolist() for name, total in weights.items()},
        {name: float(total / samples) for name, total in shares.items()},
        samples,
    ), ""
