"""What changes from epoch to epoch: loss, metrics, learning rate, threshold and spiking health."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from neurozoo.reporting.figures import COLOURS, Line, Panel, bars, lines
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.summaries import HEALTH, health_cells
from neurozoo.reporting.tables import Table, number

__all__ = ["health", "key", "lesions", "sparsity", "thresholds", "training_curves"]

_LAYERS = 12
"""So many layers have pictures."""

Value = Callable[[Mapping[str, Any]], float | None]
"""Reads a number from an epoch's record."""


def training_curves(runs: Sequence[ReportedRun]) -> list[Content]:
    """Loss, learning rate and the metrics on valid."""
    if not any(run.records for run in runs):
        return [Table("Training", notes=["No epoch is logged yet."])]
    units = " or ".join(dict.fromkeys(run.task.loss_unit for run in runs if run.task is not None)) or "nats"
    losses = [*_by_run(runs, _at("valid", "loss")), *_by_run(runs, _at("train", "loss"), "dashed")]
    rates = _by_run(runs, _at("learning_rate"))
    pictures = [
        Picture("Loss", _epochs(losses, f"loss, {units}", "loss on train and valid")),
        Picture("Learning rate", _epochs(rates, "learning rate", "learning rate")),
    ]
    for name in dict.fromkeys(name for run in runs for name in run.definitions):
        drawn = _by_run(runs, _at("valid", name))
        if any(value is not None for line in drawn for value in line.y):
            pictures.append(Picture(f"{name} on valid", _epochs(drawn, name, f"{name} on valid")))
    caption = (
        "By epoch. Of the losses the solid line is the one that is reported on valid, the dashed one what is minimised "
        "on train, measured while it trains: with class weights or focus they are two things."
    )
    return [Gallery("Training", pictures, caption, key(runs))]


def thresholds(runs: Sequence[ReportedRun]) -> list[Content]:
    """The firing threshold on valid, and what its policy reports."""
    logged = [record["threshold"] for run in runs for record in run.records if record.get("threshold")]
    if not logged:
        return [Table("Firing threshold", notes=["No threshold is logged."])]
    band = _at("threshold", "min"), _at("threshold", "max")
    means = _epochs(_by_run(runs, _at("threshold", "mean"), band=band), "threshold", "the firing threshold")
    pictures = [Picture("Mean, and smallest to largest", means)]
    for name in dict.fromkeys(name for each in logged for name in each if name not in ("mean", "min", "max")):
        drawn = _epochs(_by_run(runs, _at("threshold", name)), name, f"{name} of the threshold policy")
        pictures.append(Picture(name, drawn))
    caption = "By epoch, over the samples of valid; dimensionless. The area reaches from the smallest to the largest."
    return [Gallery("Firing threshold", pictures, caption, key(runs))]


def health(runs: Sequence[ReportedRun]) -> list[Content]:
    """Firing rates, and the shares of dead and saturated neurons, by layer."""
    names = list(dict.fromkeys(name for run in runs for record in run.records for name in record.get("health", {})))
    if not names:
        return [Table("Spiking health", notes=["No spiking layer is logged."])]
    pictures = []
    for name in names[:_LAYERS]:
        rates, dead, saturated = (_at("health", name, what) for what in HEALTH)
        shares = [*_by_run(runs, dead), *_by_run(runs, saturated, "dashed")]
        panels = [
            Panel(_by_run(runs, rates), "epoch", "rate, spikes a step", counted=True),
            Panel(shares, "epoch", "share of neurons", "y", counted=True),
        ]
        pictures.append(Picture(name, lines(panels, label=f"firing rate, dead and saturated neurons of {name}")))
    caption = (
        "By epoch, on valid. Left the mean firing rate; right the share of neurons that are dead (solid: they fire in "
        "less than 0.1 % of the steps) and saturated (dashed: in more than 95 %)."
    )
    if len(names) > _LAYERS:
        caption += f" The first {_LAYERS} of {len(names)} layers."
    rows = [
        [name, run.name, split, *health_cells(layer)]
        for run in runs
        for split, layers in run.summary.get("health", {}).items()
        for name, layer in layers.items()
    ]
    end = [Table("", ["spiking layer, best epoch", "run", "split", *HEALTH], sorted(rows))] if rows else []
    return [Gallery("Spiking health", pictures, caption, key(runs)), *end]


def sparsity(runs: Sequence[ReportedRun]) -> list[Content]:
    """The share of steps in which a neuron is silent."""

    def shares(record: Mapping[str, Any]) -> list[float]:
        rates = [layer.get("rate") for layer in record.get("health", {}).values()]
        return [1.0 - rate for rate in rates if rate is not None]

    def of(reduce: Callable[[list[float]], float]) -> Value:
        return lambda record: reduce(found) if (found := shares(record)) else None

    if not any(shares(record) for run in runs for record in run.records):
        return []
    drawn = _by_run(runs, of(lambda values: sum(values) / len(values)), band=(of(min), of(max)))
    picture = Picture("", _epochs(drawn, "share of zeros", "activation sparsity of the spiking layers"))
    caption = (
        "By epoch, on valid: the share of zeros in the output of the spiking layers, the mean over layers. The area "
        "reaches from the layer with the fewest zeros to the one with the most."
    )
    return [Gallery("Activation sparsity", [picture], caption, key(runs))]


def lesions(runs: Sequence[ReportedRun]) -> list[Content]:
    """How far predictions move without their spikes."""
    found = {run.name: run.summary.get("lesion", {}) for run in runs}
    names = list(dict.fromkeys((kind, split) for each in found.values() for kind in each for split in each[kind]))
    if not names:
        why = "They are measured when a run is finished, of models that have something left without their spikes."
        return [Table("Lesion effects", notes=[why])]
    titles = [f"{kind} ({split})" for kind, split in names]
    effects = {run: [each.get(kind, {}).get(split) for kind, split in names] for run, each in found.items()}
    drawn = bars(
        titles,
        {run: [value or 0.0 for value in values] for run, values in effects.items() if found[run]},
        unit="effect, standard deviations",
        label="lesion effects",
        width=4.6,
        legend=False,
    )
    caption = (
        "How far the predictions move, in units of their standard deviation, when each sample is given another one's "
        "spikes (permuted), or none (silent). Near 0 the spikes do nothing."
    )
    shown = key([run for run in runs if run.summary.get("lesion")])
    rows = [[run, *map(number, values)] for run, values in effects.items()]
    return [Gallery("Lesion effects", [Picture("", drawn)], caption, shown), Table("", ["run", *titles], rows)]


def _epochs(drawn: Sequence[Line], unit: str, label: str) -> str:
    return lines([Panel(drawn, "epoch", unit, counted=True)], label=f"{label}, by epoch")


def _by_run(
    runs: Iterable[ReportedRun], value: Value, style: Any = "solid", band: tuple[Value, Value] | None = None
) -> list[Line]:
    drawn = []
    for run in runs:
        if run.records:
            epochs = [record["epoch"] for record in run.records]
            edges = None
            if band is not None:
                edges = [band[0](record) for record in run.records], [band[1](record) for record in run.records]
            drawn.append(Line(epochs, [value(record) for record in run.records], run.place, style, edges))
    return drawn


def _at(*path: str) -> Value:
    """Read the number under nested keys of a record; None if it is not there."""

    def value(record: Mapping[str, Any]) -> float | None:
        found: Any = record
        for name in path:
            found = None if found is None else found.get(name)
        return found  # type: ignore[no-any-return]

    return value


def key(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """The colour and the name of each run."""
    return [(COLOURS[run.place % len(COLOURS)], run.name) for run in runs]
