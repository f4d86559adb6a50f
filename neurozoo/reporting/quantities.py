"""The section of regression runs in a report: predictions against targets, errors, and scores by quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neurozoo.reporting.figures import Line, Panel, lines
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.pixels import evenly
from neurozoo.reporting.runs.curves import key
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number

__all__ = ["section"]

_SHOWN = 12
"""So many quantities have pictures, the first ones."""
_POINTS = 240
"""Of a picture, all runs together; evenly chosen."""
_BINS = (5, 30)
"""The fewest and the most bins of the errors; in between the square root of the number of answers."""


def section(runs: Sequence[ReportedRun], split: str) -> tuple[list[Content], dict[str, Any]]:
    """Pictures and tables of regression runs, and the numbers in them for programs; see ``Task.section``."""
    shown = [run for run in runs if split in run.predictions]
    title = f"Quantities, on {split}"
    if not shown:
        return [Table(title, notes=[f"No run holds predictions of {split} yet."])], {"quantities": {}}
    names = list(dict.fromkeys(name for run in shown for name in run.outputs))
    pictures = [Picture(name, _drawn(name, shown, split)) for name in names[:_SHOWN]]
    caption = (
        "Left, predictions against targets; on the dotted line they are the same. Right, how the errors, prediction "
        "minus target, are distributed. Both in the target's unit."
    )
    if len(names) > _SHOWN:
        caption += f" The first {_SHOWN} of {len(names)} quantities."
    facts = {name: {run.name: _scores(run, name, split) for run in shown if name in run.outputs} for name in names}
    contents: list[Content] = [Gallery(title, pictures, caption, key(shown)), _table(shown, facts, split)]
    return contents, {"quantities": facts}


def _columns(run: ReportedRun, name: str, split: str) -> tuple[Any, Any]:
    """Targets and predictions of one quantity, ``[n, 1]`` each."""
    made, k = run.predictions[split], run.outputs.index(name)
    return made.target[:, k : k + 1].astype(np.float64), made.predicted[:, k : k + 1]


def _scores(run: ReportedRun, name: str, split: str) -> dict[str, float]:
    """The task's metrics of one quantity alone."""
    assert run.task is not None
    return {metric.name: metric.compute(*_columns(run, name, split), run.decision) for metric in run.task.metrics}


def _drawn(name: str, runs: Sequence[ReportedRun], split: str) -> str:
    clouds, errors, ends = [], [], []
    having = [run for run in runs if name in run.outputs]
    for run in having:
        target, predicted = (each[:, 0] for each in _columns(run, name, split))
        chosen = evenly(len(target), _POINTS // len(having))
        clouds.append(Line(target[chosen].tolist(), predicted[chosen].tolist(), run.place, "points"))
        ends += [float(target.min()), float(target.max())]
        error = predicted - target
        counts, edges = np.histogram(error[np.isfinite(error)], bins=int(np.clip(np.sqrt(len(target)), *_BINS)))
        share = (counts / max(len(target), 1)).tolist()
        errors.append(Line([edges[0], *edges.tolist(), edges[-1]], [0.0, share[0], *share, 0.0], run.place, "stepped"))
    diagonal = Line([min(ends), max(ends)], [min(ends), max(ends)], None, "dotted")
    panels = [
        Panel([diagonal, *clouds], "target", "prediction"),
        Panel(errors, "prediction - target", f"share of {split}"),
    ]
    return lines(panels, label=f"predictions against targets, and errors, of {name} on {split}")


def _table(runs: Sequence[ReportedRun], facts: Mapping[str, Mapping[str, Mapping[str, float]]], split: str) -> Table:
    """Scores by quantity; the metrics are defined below those of all quantities."""
    columns = [(run, metric) for run in runs if run.task is not None for metric in run.task.metrics]
    head = ["quantity", *(f"{metric.title}{run.among(runs)}" for run, metric in columns)]
    rows = [
        [name, *(number(by_run.get(run.name, {}).get(metric.name)) for run, metric in columns)]
        for name, by_run in facts.items()
    ]
    counts = ", ".join(dict.fromkeys(f"{len(run.predictions[split].target):,}" for run in runs))
    return Table("", head, rows, [f"Of {counts} answers on {split}."])
