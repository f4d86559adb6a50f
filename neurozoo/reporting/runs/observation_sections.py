"""Sections of a run's page on what a model does with a few samples: answers, membranes, spikes, attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from neurozoo.reporting.figures import heat_map, raster
from neurozoo.reporting.page import Content, Picture, section_of
from neurozoo.reporting.runs.observations import SPLIT, Looked, SpikeTrains
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.runs.traces import RULE, Trace, trace_svg, trace_words
from neurozoo.reporting.sample_pictures import class_key, sample_picture
from neurozoo.reporting.samples import Sample
from neurozoo.reporting.tables import Table

__all__ = ["answers", "attention", "membranes", "rasters"]

_RASTERS_BYTES, _SAMPLES_BYTES, _TRACES_BYTES = 90_000, 100_000, 90_000
"""Room for all rasters, for all samples and for all traces together."""

OfLayer = TypeVar("OfLayer", Trace, SpikeTrains)


def answers(runs: Sequence[ReportedRun], looked: Mapping[str, Looked]) -> list[Content]:
    """What the models see of the chosen samples, and what they answer; the signals of a data set once."""
    pictures, left_out = [], 0
    table: dict[tuple[str, str], list[str]] = {}
    shown = [run for run in runs if run.name in looked]
    number = max(1, sum(len(looked[run.name].samples) for run in shown))
    for column, run in enumerate(shown):
        for each in looked[run.name].samples:
            sample = each.sample
            place = run.checksum, sample.name
            known = place in table
            row = table.setdefault(place, ["-"] * (len(shown) + 1))
            row[0] = each.true or row[0]
            row[column + 1] = each.answer or _share_right(sample)
            if known and sample.steps is None:
                continue
            drawn = replace(sample, signals={}) if known else sample
            picture, missing = sample_picture(drawn, room=_SAMPLES_BYTES // number, colour=run.place)
            left_out += missing
            pictures.append(picture)
    rows = [[name, *cells] for (_, name), cells in table.items()]
    head = ["sample", "true", *(f"answer{run.among(runs)}" for run in shown)]
    if all(row[1] == "-" for row in rows):  # a target for each step
        head, rows = [head[0], *head[2:]], [[row[0], *row[2:]] for row in rows]
    notes = [f"{left_out} drawings have no room; name fewer samples to see them."] if left_out else []
    shown_classes = class_key([each.sample for run in shown for each in looked[run.name].samples])
    title = f"What the model sees and answers, on {SPLIT}"
    caption = (
        f"The first samples of {SPLIT}, of different classes where there are classes, or those that were named; each "
        "alone, as the model gets it."
    )
    return [*section_of(title, pictures, caption, shown_classes, notes), Table("", head, rows)] if pictures else []


def _share_right(sample: Sample) -> str:
    steps = sample.steps
    if steps is None or steps.answer is None or not steps.valid.any():
        return "-"
    return f"{(steps.answer == steps.target)[steps.valid].mean():.1%} of the steps are right"


def membranes(runs: Sequence[ReportedRun], looked: Mapping[str, Looked]) -> list[Content]:
    """Traces of neurons, layer by layer, the runs below one another."""
    traces = [(run, trace) for run in runs if run.name in looked for trace in looked[run.name].traces]

    def drawn(run: ReportedRun, trace: Trace) -> tuple[str, str]:
        words = trace_words(trace)
        label = f"membranes in {trace.layer}, sample {trace.sample}, {run.name}: {words}"
        return trace_svg(trace, colour=run.place, label=label), f"{words[:1].upper()}{words[1:]}."

    pictures = _by_layer(runs, traces, drawn, _TRACES_BYTES)
    left = len(traces) - len(pictures)
    notes = [f"{left} more pictures have no room; name the neurons with --neurons to see them."] if left else []
    caption = (
        f"{RULE}, unless neurons were named. The line is the membrane that is compared with the threshold in each "
        "valid step, before a reset; dashed is the threshold, a red dot a spike. Dimensionless"
        + (", in units of the threshold of adaptive neurons" if any(trace.relative for _, trace in traces) else "")
        + "."
    )
    return section_of("Membranes and thresholds", pictures, caption, notes=notes)


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
    pictures = _by_layer(runs, trains, _raster, _RASTERS_BYTES)
    if len(pictures) < len(trains):
        notes.append(f"{len(trains) - len(pictures)} more pictures have no room; name fewer samples to see them.")
    return section_of("Spikes", pictures, f"Samples of {SPLIT}, each alone; a dot is a spike.", notes=notes)


def _by_layer(
    runs: Sequence[ReportedRun],
    found: Sequence[tuple[ReportedRun, OfLayer]],
    draw: Callable[[ReportedRun, OfLayer], tuple[str, str]],
    room: int,
) -> list[Picture]:
    """Draw drawings and captions by sample and layer, as many as ``room`` bytes hold."""
    order = list(dict.fromkeys((each.sample, each.layer) for _, each in found))
    pictures: list[Picture] = []
    for run, each in sorted(found, key=lambda pair: order.index((pair[1].sample, pair[1].layer))):
        svg, caption = draw(run, each)
        room -= len(svg)
        if room < 0:
            break
        pictures.append(Picture(f"{each.sample}: {each.layer}{run.among(runs)}", svg, caption))
    return pictures


def _raster(run: ReportedRun, train: SpikeTrains) -> tuple[str, str]:
    steps = train.spikes.shape[1] // max(train.positions, 1)
    drawn = raster(
        train.spikes,
        positions=train.positions,
        along="step" if steps <= 1 else f"position ({steps} steps each)",
        unit="neuron",
        label=f"spikes of {train.layer} for the sample {train.sample}, {run.name}",
        colour=run.place,
    )
    shown = len(train.spikes)
    parts = [f"rate {train.rate:.1%}"] if train.spikes.size else ["no valid position"]
    parts += [f"{shown} of {train.neurons:,} neurons, evenly chosen"] if shown < train.neurons else []
    parts += [f"the first {train.positions} positions"] if train.cut else []
    return drawn, "; ".join(parts)


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
