"""What changes from epoch to epoch: loss, metrics, learning rate, threshold and spiking health."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from neurozoo.reporting.figures import COLOURS, Line, Panel, bars, lines
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number

__all__ = ["health", "key", "lesions", "sparsity", "thresholds", "training_curves"]

_NO_EPOCH = "No epoch is logged yet."
_LAYERS = 12
"""So many layers have pictures."""

Value = Callable[[Mapping[str, Any]], float | None]


def training_curves(runs: Sequence[ReportedRun]) -> list[Content]:
    """Loss, learning rate and the metrics on valid."""
    if not any(run.records for run in runs):
        return [Table("Training", notes=[_NO_EPOCH])]
    losses = [
        *_by_run(runs, lambda record: record.get("valid", {}).get("loss")),
        *_by_run(runs, lambda record: record.get("train", {}).get("loss"), "dashed"),
    ]
    rates = _by_run(runs, lambda record: record.get("learning_rate"))
    pictures = [
        Picture("Loss", _epochs(losses, f"loss, {_units(runs)}", "loss on train and valid")),
        Picture("Learning rate", _epochs(rates, "learning rate", "learning rate")),
    ]
    for name in dict.fromkeys(name for run in runs for name in run.definitions):
        drawn = _by_run(runs, lambda record, name=name: record.get("valid", {}).get(name))  # type: ignore[misc]
        if any(value is not None for line in drawn for value in line.y):
            pictures.append(Picture(f"{name} on valid", _epochs(drawn, name, f"{name} on valid")))
    caption = (
        "By epoch. Of the losses the solid line is the one that is reported on valid, the dashed one what is minimised "
        "on train, measured while it trains: with class weights or focus they are two things."
    )
    return [Gallery("Training", pictures, caption, key(runs))]


def _units(runs: Sequence[ReportedRun]) -> str:
    """Units of the runs' losses; ``target`` is the target's own."""
    return " or ".join(dict.fromkeys(run.task.loss_unit for run in runs if run.task is not None)) or "nats"


def thresholds(runs: Sequence[ReportedRun]) -> list[Content]:
    """The firing threshold on valid, and what its policy reports."""
    logged = [record["threshold"] for run in runs for record in run.records if record.get("threshold")]
    if not logged:
        return [Table("Firing threshold", notes=["No threshold is logged."])]
    means = _by_run(runs, _threshold("mean"), band=(_threshold("min"), _threshold("max")))
    pictures = [Picture("Mean, and smallest to largest", _epochs(means, "threshold", "the firing threshold"))]
    for name in dict.fromkeys(name for each in logged for name in each if name not in ("mean", "min", "max")):
        drawn = _epochs(_by_run(runs, _threshold(name)), name, f"{name} of the threshold policy")
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
        rates = _by_run(runs, _of_layer(name, "rate"))
        shares = [*_by_run(runs, _of_layer(name, "dead")), *_by_run(runs, _of_layer(name, "saturated"), "dashed")]
        panels = [
            Panel(rates, "epoch", "rate, spikes a step", counted=True),
            Panel(shares, "epoch", "share of neurons", "y", counted=True),
        ]
        pictures.append(Picture(name, lines(panels, label=f"firing rate, dead and saturated neurons of {name}")))
    caption = (
        "By epoch, on valid. Left the mean firing rate; right the share of neurons that are dead (solid: they fire in "
        "less than 0.1 % of the steps) and saturated (dashed: in more than 95 %)."
    )
    if len(names) > _LAYERS:
        caption += f" The first {_LAYERS} of {len(names)} layers."
    return [Gallery("Spiking health", pictures, caption, key(runs)), *_at_the_end(runs)]


def sparsity(runs: Sequence[ReportedRun]) -> list[Content]:
    """The share of steps in which a neuron is silent."""
    if not any(_sparsities(record) for run in runs for record in run.records):
        return []
    drawn = _by_run(runs, _sparsity(_mean), band=(_sparsity(min), _sparsity(max)))
    picture = Picture("", _epochs(drawn, "share of zeros", "activation sparsity of the spiking layers"))
    caption = (
        "By epoch, on valid: the share of zeros in what the spiking layers put out, the mean over layers. The area "
        "reaches from the layer with the fewest zeros to the one with the most."
    )
    return [Gallery("Activation sparsity", [picture], caption, key(runs))]


def _sparsities(record: Mapping[str, Any]) -> list[float]:
    rates = [layer.get("rate") for layer in record.get("health", {}).values()]
    return [1.0 - rate for rate in rates if rate is not None]


def _sparsity(of: Callable[[list[float]], float]) -> Value:
    return lambda record: of(found) if (found := _sparsities(record)) else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _at_the_end(runs: Sequence[ReportedRun]) -> list[Content]:
    rows = [
        [name, run.name, split, *(f"{layer[word]:.1%}" for word in ("rate", "dead", "saturated"))]
        for run in runs
        for split, layers in run.summary.get("health", {}).items()
        for name, layer in layers.items()
    ]
    head = ["spiking layer, best epoch", "run", "split", "rate", "dead", "saturated"]
    return [Table("", head, sorted(rows))] if rows else []


def lesions(runs: Sequence[ReportedRun]) -> list[Content]:
    """How far predictions move without their spikes."""
    found = {run.name: run.summary.get("lesion", {}) for run in runs}
    names = list(dict.fromkeys((kind, split) for each in found.values() for kind in each for split in each[kind]))
    if not names:
        why = "They are measured when a run is finished, of models that have something left without their spikes."
        return [Table("Lesion effects", notes=[why])]
    series = {
        name: [each.get(kind, {}).get(split) or 0.0 for kind, split in names] for name, each in found.items() if each
    }
    drawn = bars(
        [f"{kind} ({split})" for kind, split in names],
        series,
        unit="effect, standard deviations",
        label="lesion effects",
        width=4.6,
        legend=False,
    )
    caption = (
        "How far the predictions move, in units of their standard deviation, when each sample is given another one's "
        "spikes (permuted), or none (silent). Near 0 the spikes do nothing."
    )
    rows = [[run, *(number(each.get(kind, {}).get(split)) for kind, split in names)] for run, each in found.items()]
    table = Table("", ["run", *(f"{kind} ({split})" for kind, split in names)], rows)
    shown = [run for run in runs if run.summary.get("lesion")]
    return [Gallery("Lesion effects", [Picture("", drawn)], caption, key(shown)), table]


def _epochs(drawn: Sequence[Line], unit: str, label: str) -> str:
    return lines([Panel(drawn, "epoch", unit, counted=True)], label=f"{label}, by epoch")


def _by_run(
    runs: Iterable[ReportedRun], value: Value, style: Any = "solid", band: tuple[Value, Value] | None = None
) -> list[Line]:
    return [
        Line(
            [record["epoch"] for record in run.records],
            [value(record) for record in run.records],
            run.place,
            style,
            None if band is None else tuple([edge(record) for record in run.records] for edge in band),  # type: ignore[arg-type]
        )
        for run in runs
        if run.records
    ]


def _threshold(name: str) -> Value:
    return lambda record: record.get("threshold", {}).get(name)


def _of_layer(layer: str, what: str) -> Value:
    return lambda record: record.get("health", {}).get(layer, {}).get(what)


def key(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """The colour and the name of each run."""
    return [(COLOURS[run.place % len(COLOURS)], run.name) for run in runs]
