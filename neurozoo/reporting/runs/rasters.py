"""Spikes of a few samples, and what the labels look at, as pictures; or a sentence that says why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neurozoo.reporting.figures import heat_map, raster
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.runs.observations import SPLIT, Looked, SpikeTrains
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table

__all__ = ["attention", "rasters"]

_BYTES = 160_000
"""So much room the rasters have together."""


def rasters(runs: Sequence[ReportedRun], looked: Mapping[str, Looked], why: Mapping[str, str]) -> list[Content]:
    """The spikes of the chosen samples, layer by layer, the runs below one another.

    Args:
        runs: All runs.
        looked: By the run's name, what its model did.
        why: By the run's name, why there is nothing.
    """
    title = "Spikes"
    notes = _reasons(runs, why)
    notes += [
        f"{name}: it has no spiking layer" if len(runs) > 1 else "It has no spiking layer."
        for name, each in looked.items()
        if not each.trains
    ]
    pictures: list[Picture] = []
    room, left_out = _BYTES, 0
    for sample, layer in dict.fromkeys(
        (train.sample, train.layer) for each in looked.values() for train in each.trains
    ):
        for run in runs:
            for train in looked[run.name].trains if run.name in looked else ():
                if (train.sample, train.layer) != (sample, layer):
                    continue
                svg = _raster(run, train) if room > 0 else ""
                room -= len(svg)
                if room < 0:
                    left_out += 1
                    continue
                of = f", {run.name}" if len(runs) > 1 else ""
                pictures.append(Picture(f"{sample}: {layer}{of}", svg, _said(train)))
    if left_out:
        notes.append(f"{left_out} more pictures found no room; name fewer samples to see them.")
    gallery = [Gallery(title, pictures, f"Samples of {SPLIT}, each alone; a dot is a spike.")] if pictures else []
    return [*gallery, *([Table("" if gallery else title, notes=notes)] if notes else [])]


def attention(runs: Sequence[ReportedRun], looked: Mapping[str, Looked], why: Mapping[str, str]) -> list[Content]:
    """Which modalities the labels look at; the arguments are those of :func:`rasters`."""
    title, pictures = "What the labels look at", []
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
    notes = _reasons(runs, reasons)
    caption = (
        "The label decoder's cross-attention, summed over each modality's rows of the fused sequence; mean over heads "
        f"and the samples of {SPLIT}. The last row is what labels that look nowhere in particular would give."
    )
    gallery = [Gallery(title, pictures, caption)] if pictures else []
    return [*gallery, *([Table("" if gallery else title, notes=notes)] if notes else [])]


def _reasons(runs: Sequence[ReportedRun], why: Mapping[str, str]) -> list[str]:
    """A sentence a run."""
    return [
        f"Left out{f' for {run.name}' if len(runs) > 1 else ''}: {why[run.name]}." for run in runs if run.name in why
    ]


def _raster(run: ReportedRun, train: SpikeTrains) -> str:
    steps = train.spikes.shape[1] // max(train.positions, 1)
    label = f"spikes of {train.layer} for the sample {train.sample}, {run.name}"
    return raster(
        train.spikes,
        positions=train.positions,
        along="step" if steps <= 1 else f"position ({steps} steps each)",
        unit="neuron",
        label=label,
        colour=run.place,
    )


def _said(train: SpikeTrains) -> str:
    shown = len(train.spikes)
    said = [f"rate {train.rate:.1%}"] if train.spikes.size else ["no valid position"]
    said += [f"{shown} of {train.neurons:,} neurons, evenly chosen"] if shown < train.neurons else []
    said += [f"the first {train.positions} positions"] if train.cut else []
    return "; ".join(said)
