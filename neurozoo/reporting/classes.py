"""The section of multi-class runs in a report: confusion of the classes, calibration, and scores by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.reporting.figures import Line, Panel, heat_map, lines
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.runs.curves import key
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number
from neurozoo.tasks.multiclass import BINS, calibration_bins, confusion

__all__ = ["section"]

_SHOWN = 24
"""So many classes have a place in the confusion matrix, the most frequent ones."""
_ROWS = 100
"""The same of the table; of no more classes programs get the matrix."""
_PAIRS = 5
"""So many pairs of classes are named that are most often confused."""


def section(runs: Sequence[ReportedRun], split: str) -> tuple[list[Content], dict[str, Any]]:
    """Pictures and tables of multi-class runs, and the numbers in them for programs; see ``Task.section``."""
    shown = [run for run in runs if split in run.predictions]
    title = f"Classes, on {split}"
    if not shown:
        return [Table(title, notes=[f"No run holds predictions of {split} yet."])], {"classes": {}, "confusion": {}}
    counts: dict[str, NDArray[np.int64]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for run in shown:
        made = run.predictions[split]
        counts[run.name] = confusion(made.target, made.predicted)
        scores = _scores(counts[run.name])
        for k, name in enumerate(run.outputs):
            facts.setdefault(name, {})[run.name] = {what: float(each[k]) for what, each in scores.items()}
    diagram = Picture("Reliability", _reliability(shown, split))
    pictures = [diagram, *(_heat(run, counts[run.name], split) for run in shown)]
    caption = (
        "Reliability: how often the most probable class is right by its predicted probability, in "
        f"{BINS} bins of equal width; on the dotted line probabilities are calibrated. Confusion: of the answers "
        "whose class is the row's, the share that is taken for the column's class."
    )
    if max(map(len, counts.values())) > _SHOWN:
        caption += f" Of the classes the {_SHOWN} most frequent ones."
    contents: list[Content] = [
        Gallery(title, pictures, caption, key(shown)),
        _table(shown, counts, facts, split),
        *_confused(shown, counts, split),
    ]
    matrices = {name: each.tolist() for name, each in counts.items() if len(each) <= _ROWS}
    return contents, {"classes": facts, "confusion": matrices}


def _confused(runs: Sequence[ReportedRun], counts: Mapping[str, NDArray[np.int64]], split: str) -> list[Table]:
    """The pairs of classes that are most often taken for one another, for those who do not see the matrix."""
    rows = []
    for run in runs:
        own = counts[run.name]
        wrong = own * ~np.eye(len(own), dtype=bool)
        for place in np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]:
            i, j = np.unravel_index(place, own.shape)
            if wrong[i, j]:
                share = own[i, j] / own[i].sum()
                name = [run.name] if len(runs) > 1 else []
                rows.append([run.outputs[i], run.outputs[j], *name, f"{own[i, j]:,}", f"{share:.1%}"])
    head = ["class", "taken for", *(["run"] if len(runs) > 1 else []), f"answers of {split}", "of the class"]
    return [Table("", head, rows, ["The pairs of classes that are most often confused."])] if rows else []


def _scores(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 of each class; 0 if one is neither a target nor predicted."""
    right, present, claimed = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {
        "precision": right / np.maximum(claimed, 1),
        "recall": right / np.maximum(present, 1),
        "f1": 2 * right / np.maximum(present + claimed, 1),
    }


def _heat(run: ReportedRun, counts: NDArray[np.int64], split: str) -> Picture:
    shown = np.sort(np.argsort(-counts.sum(1), kind="stable")[:_SHOWN])
    shares = counts / np.maximum(counts.sum(1), 1)[:, None]
    drawn = heat_map(
        [run.outputs[k] for k in shown],
        shares[np.ix_(shown, shown)].tolist(),
        label=f"confusion of the classes on {split}, {run.name}",
        width=4.6,
        colour=run.place,
    )
    return Picture(f"Confusion, {run.name}", drawn)


def _reliability(runs: Sequence[ReportedRun], split: str) -> str:
    drawn = [Line([0, 1], [0, 1], None, "dotted")]
    for run in runs:
        _, predicted, right = calibration_bins(run.predictions[split].target, run.predictions[split].predicted)
        drawn.append(Line(list(predicted), list(right), run.place, "marked"))
    panel = Panel(drawn, "probability of the most probable class", "share that is right", "both")
    return lines([panel], label=f"reliability of the most probable class on {split}")


def _table(
    runs: Sequence[ReportedRun],
    counts: Mapping[str, NDArray[np.int64]],
    facts: Mapping[str, Mapping[str, Mapping[str, float]]],
    split: str,
) -> Table:
    samples: dict[str, int] = {}
    head = ["class", f"answers of {split}"]
    for run in runs:
        present = counts[run.name].sum(1)
        samples |= {name: max(samples.get(name, 0), int(present[k])) for k, name in enumerate(run.outputs)}
        head += [f"{what}{run.among(runs)}" for what in ("precision", "recall", "F1")]
    kept = set(sorted(samples, key=lambda name: -samples[name])[:_ROWS])
    rows = []
    for name in (name for name in samples if name in kept):
        cells = [facts[name].get(run.name, {}).get(what) for run in runs for what in ("precision", "recall", "f1")]
        rows.append([name, f"{samples[name]:,}", *map(number, cells)])
    notes = [f"The {_ROWS} most frequent of {len(samples)} classes."] if len(samples) > _ROWS else []
    return Table("", head, rows, notes)
