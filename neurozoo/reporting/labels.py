"""The section of multi-label runs in a report: precision and recall, calibration, and what occurs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.reporting.figures import Line, Panel, heat_map, lines
from neurozoo.reporting.page import Content, Gallery, Picture
from neurozoo.reporting.runs.calibration import BINS, PrecisionRecall, Reliability, precision_recall, reliability
from neurozoo.reporting.runs.curves import key
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number

__all__ = ["LabelScores", "section"]

_SHOWN = 24
"""So many labels have pictures, the most frequent ones."""

ALL = "all decisions"


@dataclass(frozen=True)
class LabelScores:
    """How good a run's probabilities of a label are.

    Attributes:
        curve: Precision at each recall; None where no sample has the label.
        calibration: Whether they mean what they say.
    """

    curve: PrecisionRecall | None
    calibration: Reliability


def section(runs: Sequence[ReportedRun], split: str) -> tuple[list[Content], dict[str, Any]]:
    """Pictures and tables of multi-label runs, and the numbers in them for programs; see ``Task.section``."""
    scores = _scores(runs, split)
    facts = {
        name: {
            run: {
                "average_precision": None if each.curve is None else each.curve.average,
                "expected_calibration_error": each.calibration.error,
            }
            for run, each in by_run.items()
        }
        for name, by_run in scores.items()
    }
    return [*_pictures(runs, split, scores), *_together(runs, split)], {"labels": facts}


def _scores(runs: Sequence[ReportedRun], split: str) -> dict[str, dict[str, LabelScores]]:
    """By label, and all decisions together under :data:`ALL`, then by the run's name."""
    found: dict[str, dict[str, LabelScores]] = {}
    for run in runs:
        made = run.predicted(split)
        if made is None:
            continue
        for k, name in enumerate(run.outputs):
            there, probabilities = made.target[:, k] > 0.5, made.predicted[:, k]
            scores = LabelScores(precision_recall(there, probabilities), reliability(there, probabilities))
            found.setdefault(name, {})[run.name] = scores
    every = {
        run.name: LabelScores(None, reliability(made.target > 0.5, made.predicted))
        for run in runs
        if (made := run.predicted(split)) is not None
    }
    return {**found, ALL: every} if every else {}


def _pictures(
    runs: Sequence[ReportedRun], split: str, scores: Mapping[str, Mapping[str, LabelScores]]
) -> list[Content]:
    """Curves and reliability diagrams, and the numbers of all labels."""
    title = f"Labels, on {split}"
    if not scores:
        return [Table(title, notes=[f"No run holds predictions of {split} yet."])]
    places = {run.name: run.place for run in runs}
    names = _most_frequent([name for name in scores if name != ALL], scores)
    pictures = [Picture(name, _drawn(name, scores[name], places)) for name in [ALL, *names]]
    caption = (
        "Left, precision at each recall, thinned out; dotted is the share of samples that have the label, which "
        f"guessing reaches. Right, how often a label is there by how probable it was said to be, in {BINS} bins of "
        "equal width; on the dotted line probabilities mean what they say."
    )
    if len(names) + 1 < len(scores):
        caption += f" The {len(names)} most frequent of {len(scores) - 1} labels."
    shown = [run for run in runs if split in run.predictions]
    return [Gallery(title, pictures, caption, key(shown)), _numbers(scores, shown, split)]


def _together(runs: Sequence[ReportedRun], split: str) -> list[Content]:
    """How often labels occur together: as they are, and as each run predicts them."""
    title = f"Labels together, on {split}"
    pictures: list[Picture] = []
    drawn: set[str] = set()
    for run in runs:
        made = run.predicted(split)
        if made is None or run.task is None:
            continue
        there = made.target > 0.5
        shown = np.sort(np.argsort(-there.sum(0), kind="stable")[:_SHOWN])
        names = [run.outputs[k] for k in shown]
        if run.checksum not in drawn:
            drawn.add(run.checksum)
            of = "" if len(drawn) == 1 else f" of {run.name}"
            pictures.append(_heat(f"True{of}", names, there[:, shown], split, 5))
        predicted = run.task.decide(made.predicted, run.decision) > 0
        pictures.append(_heat(f"Predicted by {run.name}", names, predicted[:, shown], split, run.place))
    if not pictures:
        return [Table(title, notes=[f"No run holds predictions of {split} yet."])]
    caption = (
        "Of the samples with the row's label, the share that has the column's. A label is predicted where its "
        "probability is above the run's decision threshold; the row of one that never is holds zeros."
    )
    return [Gallery(title, pictures, caption)]


def _most_frequent(names: Sequence[str], scores: Mapping[str, Mapping[str, LabelScores]]) -> list[str]:
    def base(name: str) -> float:
        return max((each.curve.base for each in scores[name].values() if each.curve is not None), default=0.0)

    kept = set(sorted(names, key=base, reverse=True)[:_SHOWN])
    return [name for name in names if name in kept]


def _drawn(name: str, by_run: Mapping[str, LabelScores], places: Mapping[str, int]) -> str:
    curves, reliabilities = [], [Line([0, 1], [0, 1], None, "dotted")]
    for run, found in by_run.items():
        if found.curve is not None:
            curves.append(Line(list(found.curve.recall), list(found.curve.precision), places[run], "stepped"))
        bins = found.calibration
        reliabilities.append(Line(list(bins.predicted), list(bins.observed), places[run], "marked"))
    diagram = Panel(reliabilities, "probability", "share that is there", "both")
    if name == ALL:
        return lines([diagram], label="reliability of all decisions")
    bases = {found.curve.base for found in by_run.values() if found.curve is not None}
    guesses = [Line([0, 1], [base, base], None, "dotted") for base in sorted(bases)]
    panel = Panel([*guesses, *curves], "recall", "precision", "both")
    return lines([panel, diagram], label=f"precision against recall, and reliability, of {name}")


def _numbers(scores: Mapping[str, Mapping[str, LabelScores]], runs: Sequence[ReportedRun], split: str) -> Table:
    head = ["label", f"samples of {split}"]
    for run in runs:
        of = f", {run.name}" if len(runs) > 1 else ""
        head += [f"average precision{of}", f"calibration error{of}"]
    rows = []
    for name, by_run in scores.items():
        bases = [found.curve.base for found in by_run.values() if found.curve is not None]
        row = [name, f"{bases[0]:.1%}" if bases else "none" if name != ALL else ""]
        for run in runs:
            found = by_run.get(run.name)
            row.append(number(None if found is None or found.curve is None else found.curve.average))
            row.append(number(None if found is None else found.calibration.error))
        rows.append(row)
    note = (
        "calibration error: the expected one (ECE), the mean distance of what a bin predicts and what is there, "
        f"{BINS} bins of equal width, weighed by their predictions; dimensionless. Checkpoint and decision threshold "
        "were chosen on valid, where all of this looks a little better than it is"
    )
    return Table("", head, rows, [note])


def _heat(title: str, names: Sequence[str], labels: NDArray[np.bool_], split: str, colour: int) -> Picture:
    counts = labels.T.astype(np.int64) @ labels.astype(np.int64)
    shares = counts / np.maximum(np.diag(counts), 1)[:, None]
    drawn = heat_map(names, shares.tolist(), label=f"labels together on {split}: {title}", width=4.6, colour=colour)
    return Picture(title, drawn)
