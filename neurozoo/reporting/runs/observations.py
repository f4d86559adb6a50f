"""A run's best weights on samples of valid: the spikes of some, and the labels' attention over all, as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from neurozoo.evaluation.evaluate import data_of
from neurozoo.heads.label_decoder import LabelDecoderHead, record_label_attention
from neurozoo.operations.profiling import Told
from neurozoo.reporting.figures import heat_map, raster
from neurozoo.reporting.page import Content, Picture, section_of
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.runs.device import device_of_run
from neurozoo.runs.loading import load

__all__ = ["Looked", "attention", "look", "rasters"]

SPLIT = "valid"
_STEPS = 600
_NEURONS = 64
_BYTES = 160_000
"""Room for all rasters together."""


@dataclass(frozen=True)
class SpikeTrains:
    """The spikes of a layer for a sample, over its valid positions.

    Attributes:
        sample: Its name.
        layer: Dotted name.
        spikes: ``[N, S]``, at most 64 neurons, evenly chosen, and 600 steps.
        positions: How many positions the S steps are.
        neurons: How many the layer has.
        cut: Whether there are more steps.
        rate: Mean firing rate of all neurons over all valid steps, in spikes a step; 0 if no step is valid.
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
    """The labels' attention, mean over samples.

    Attributes:
        weights: By modality, of each label ``[K]``; they add up to 1.
        shares: By modality, its share of the rows that the attention covers.
        samples: How many samples.
    """

    weights: Mapping[str, Sequence[float]]
    shares: Mapping[str, float]
    samples: int


@dataclass(frozen=True)
class Looked:
    """The observations of a run: spikes by sample and layer; the attention, or why there is none."""

    trains: Sequence[SpikeTrains] = ()
    attention: Attention | None = None
    why: str = ""


def look(run: ReportedRun, samples: Sequence[str], first: int, *, data_root: str | None = None, told: Told) -> Looked:
    """Run a run's best weights on the named samples of valid, or on so many from the first on if none is named.

    Raises:
        NeurozooError: The data or the weights are missing or others; or the model cannot be built here.
        UserError: There is no such sample.
    """
    trained = load(run.folder)
    recipe, view = trained.recipe, data_of(trained, data_root)
    if view.description.checksum != run.checksum:
        raise DataError(f"the data of the name {run.data} that is here is not what it was trained on")
    device = device_of_run(recipe.training.device)
    model = trained.module.to(device).eval()
    with torch.no_grad(), frozen_statistics(model):
        ids = view.split(SPLIT).ids
        for each in samples:
            if each not in ids:
                some = ", ".join(ids[:3])
                raise UserError(f"{SPLIT} has no sample called {each!r}; it has {len(ids):,}, such as {some}")
        spiking, trains = spiking_layers(model), []
        for sample in samples or ids[:first]:
            # Alone, so that no other sample's features decide its spikes.
            batch = view.split(SPLIT).batch(torch.tensor([ids.index(sample)])).to(device)
            with recorded(model) as firings:
                model(batch)
            trains += [_train(sample, name, firing) for name, firing in firings.items() if name in spiking]
        attention, why = _attention(model, view, recipe.evaluation.batch_size, device, told)
    return Looked(trains, attention, why)


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
    samples, done, size = 0, 0, len(view.split(SPLIT))
    for batch in view.batches(SPLIT, batch_size):
        with record_label_attention(model) as recorded_attention:
            model(batch.to(device))
        (attended,) = recorded_attention
        own, rows = attended.by_modality()
        if not own:
            return None, "its fusion does not report which rows of its sequence belong to which modality"
        there = attended.valid.any(1)  # a sample without a valid row has no attention
        for name in own:
            weights[name] = own[name][there].double().sum(0).cpu() + weights.get(name, 0)
            shares[name] = rows[name][there].double().sum(0).cpu() + shares.get(name, 0)
        samples, done = samples + int(there.sum()), done + len(batch)
        told("the labels' attention", done, size)
    if not samples:
        return None, f"no sample of {SPLIT} has a valid position"
    return Attention(
        {name: (total / samples).tolist() for name, total in weights.items()},
        {name: float(total / samples) for name, total in shares.items()},
        samples,
    ), ""


def rasters(runs: Sequence[ReportedRun], looked: Mapping[str, Looked], why: Mapping[str, str]) -> list[Content]:
    """The spikes of the chosen samples, layer by layer, the runs below one another.

    The observations, and why there are none, are by the run's name.
    """
    notes = _reasons(runs, why)
    notes += [
        f"{name}: it has no spiking layer" if len(runs) > 1 else "It has no spiking layer."
        for name, each in looked.items()
        if not each.trains
    ]
    trains = [(run, train) for run in runs if run.name in looked for train in looked[run.name].trains]
    order = list(dict.fromkeys((train.sample, train.layer) for _, train in trains))
    trains.sort(key=lambda each: order.index((each[1].sample, each[1].layer)))
    pictures: list[Picture] = []
    room = _BYTES
    for run, train in trains:
        svg = _raster(run, train) if room > 0 else ""
        room -= len(svg) or 1
        if room >= 0:
            pictures.append(Picture(f"{train.sample}: {train.layer}{run.among(runs)}", svg, _caption(train)))
    if len(pictures) < len(trains):
        notes.append(f"{len(trains) - len(pictures)} more pictures have no room; name fewer samples to see them.")
    return section_of("Spikes", pictures, f"Samples of {SPLIT}, each alone; a dot is a spike.", notes=notes)


def attention(runs: Sequence[ReportedRun], looked: Mapping[str, Looked], why: Mapping[str, str]) -> list[Content]:
    """Which modalities the labels attend to; the arguments are those of :func:`rasters`."""
    pictures = []
    reasons = {**why, **{name: each.why for name, each in looked.items() if each.attention is None}}
    for run in runs:
        found = looked[run.name].attention if run.name in looked else None
        if found is None:
            continue
        modalities = list(found.weights)
        rows = [[found.weights[name][k] for name in modalities] for k in range(len(run.outputs))]
        rows.append([found.shares[name] for name in modalities])
        drawn = heat_map(
            [*run.outputs, "share of the rows"],
            rows,
            columns=modalities,
            label=f"attention of the labels to the modalities, {run.name}",
            width=4.6,
            colour=run.place,
        )
        pictures.append(Picture(f"{run.name}, {found.samples:,} samples", drawn))
    caption = (
        "The label decoder's cross-attention, summed over each modality's rows of the fused sequence; mean over heads "
        f"and the samples of {SPLIT}. The last row is what uniform attention would give."
    )
    return section_of("What the labels look at", pictures, caption, notes=_reasons(runs, reasons))


def _reasons(runs: Sequence[ReportedRun], why: Mapping[str, str]) -> list[str]:
    """A sentence a run."""
    return [
        f"Left out{f' for {run.name}' if len(runs) > 1 else ''}: {why[run.name]}." for run in runs if run.name in why
    ]


def _raster(run: ReportedRun, train: SpikeTrains) -> str:
    steps = train.spikes.shape[1] // max(train.positions, 1)
    return raster(
        train.spikes,
        positions=train.positions,
        along="step" if steps <= 1 else f"position ({steps} steps each)",
        unit="neuron",
        label=f"spikes of {train.layer} for the sample {train.sample}, {run.name}",
        colour=run.place,
    )


def _caption(train: SpikeTrains) -> str:
    shown = len(train.spikes)
    parts = [f"rate {train.rate:.1%}"] if train.spikes.size else ["no valid position"]
    parts += [f"{shown} of {train.neurons:,} neurons, evenly chosen"] if shown < train.neurons else []
    parts += [f"the first {train.positions} positions"] if train.cut else []
    return "; ".join(parts)
