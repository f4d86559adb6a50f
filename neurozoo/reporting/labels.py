"""The section of multi-label runs in a report: precision and recall, calibration, and labels that occur together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.reporting.figures import Line, Panel, heat_map, lines
from neurozoo.reporting.page import Content, Gallery, Picture, section_of
from neurozoo.reporting.runs.curves import key
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number

__all__ = ["PrecisionRecall", "Reliability", "precision_recall", "reliability", "section"]

_SHOWN = 24
"""So many labels have pictures, the most frequent ones."""
_BINS = 10
"""Of probabilities, of equal width, from 0 to 1."""
_POINTS = 48
"""Of a curve; more cannot be seen."""

ALL = "all decisions"


@dataclass(frozen=True)
class PrecisionRecall:
    """A label's precision at each recall.

    Attributes:
        recall: From 0 to 1, thinned out to 48 points.
        precision: At each.
        average: Average precision, of all points; dimensionless.
        base: Share of the samples that have the label: the precision of guessing.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    average: float
    base: float


@dataclass(frozen=True)
class Reliability:
    """How often a label is there by its predicted probability.

    Attributes:
        predicted: Mean probability of each bin that is not empty.
        observed: Share of each that has the label.
        error: Expected calibration error: the mean of their distances over all predictions (Guo et al. 2017,
            equation 3), dimensionless.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    error: float


def precision_recall(there: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> PrecisionRecall | None:
    """A label's curve, of ``[N]`` each; None if no sample has it."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    if not there.any():
        return None
    precision, recall, _ = precision_recall_curve(there, probabilities)
    precision, recall = precision[::-1], recall[::-1]
    kept = np.unique(np.searchsorted(recall, np.linspace(0, 1, _POINTS)).clip(max=len(recall) - 1))
    average = float(average_precision_score(there, probabilities))
    return PrecisionRecall(recall[kept], precision[kept], average, float(there.mean()))


def reliability(there: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Reliability:
    """Of predictions of any shape: one label's, or all together."""
    from sklearn.calibration import calibration_curve

    y, p = there.ravel(), probabilities.ravel()
    observed, predicted = calibration_curve(y, p, n_bins=_BINS)
    # scikit-learn's bins, for how many predictions are in each.
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, _BINS + 1)[1:-1], p), minlength=_BINS)
    share = counts[counts > 0] / len(p)
    return Reliability(predicted, observed, float((share * np.abs(observed - predicted)).sum()))


_Scores = Mapping[str, Mapping[str, tuple[PrecisionRecall | None, Reliability]]]
"""By label, and under :data:`ALL` for all decisions together, then by the run's name."""


def section(runs: Sequence[ReportedRun], split: str) -> tuple[list[Content], dict[str, Any]]:
    """Pictures and tables of multi-label runs, and the numbers in them for programs; see ``Task.section``."""
    shown = [run for run in runs if split in run.predictions]
    scores = _scores(shown, split)
    facts = {
        name: {
            run: {
                "average_precision": None if curve is None else curve.average,
                "expected_calibration_error": calibration.error,
            }
            for run, (curve, calibration) in by_run.items()
        }
        for name, by_run in scores.items()
    }
    if not shown:
        notes = [f"No run holds predictions of {split} yet."]
        return [Table(f"{what}, on {split}", notes=notes) for what in ("Labels", "Labels together")], {"labels": facts}
    return [*_pictures(shown, split, scores), *_together(shown, split)], {"labels": facts}


def _scores(runs: Sequence[ReportedRun], split: str) -> _Scores:
    scores: dict[str, dict[str, tuple[PrecisionRecall | None, Reliability]]] = {}
    for run in runs:
        there, probabilities = run.predictions[split].target > 0.5, run.predictions[split].predicted
        for k, name in enumerate(run.outputs):
            own = there[:, k], probabilities[:, k]
            scores.setdefault(name, {})[run.name] = precision_recall(*own), reliability(*own)
    for run in runs:
        every = reliability(run.predictions[split].target > 0.5, run.predictions[split].predicted)
        scores.setdefault(ALL, {})[run.name] = None, every
    return scores


def _bases(scores: _Scores, name: str) -> list[float]:
    """Shares of the samples that have a label, by run."""
    return [curve.base for curve, _ in scores[name].values() if curve is not None]


def _pictures(runs: Sequence[ReportedRun], split: str, scores: _Scores) -> list[Content]:
    """Curves and reliability diagrams, and the numbers of all labels."""
    labels = [name for name in scores if name != ALL]
    kept = sorted(labels, key=lambda name: max(_bases(scores, name), default=0.0), reverse=True)[:_SHOWN]
    places = {run.name: run.place for run in runs}
    shown = [name for name in labels if name in kept]
    pictures = [Picture(name, _drawn(name, scores, places)) for name in [ALL, *shown]]
    caption = (
        "Left, precision at each recall, thinned out; dotted is the share of samples that have the label, the "
        f"precision of guessing. Right, how often a label is there by its predicted probability, in {_BINS} bins of "
        "equal width; on the dotted line probabilities are calibrated."
    )
    if len(kept) < len(labels):
        caption += f" The {len(kept)} most frequent of {len(labels)} labels."
    return [Gallery(f"Labels, on {split}", pictures, caption, key(runs)), _numbers(scores, runs, split)]


def _drawn(name: str, scores: _Scores, places: Mapping[str, int]) -> str:
    curves, diagonal = [], Line([0, 1], [0, 1], None, "dotted")
    reliabilities = [diagonal]
    for run, (curve, bins) in scores[name].items():
        if curve is not None:
            curves.append(Line(list(curve.recall), list(curve.precision), places[run], "stepped"))
        reliabilities.append(Line(list(bins.predicted), list(bins.observed), places[run], "marked"))
    diagram = Panel(reliabilities, "probability", "share that is there", "both")
    if name == ALL:
        return lines([diagram], label="reliability of all decisions")
    guesses = [Line([0, 1], [base, base], None, "dotted") for base in sorted(set(_bases(scores, name)))]
    panel = Panel([*guesses, *curves], "recall", "precision", "both")
    return lines([panel, diagram], label=f"precision against recall, and reliability, of {name}")


def _numbers(scores: _Scores, runs: Sequence[ReportedRun], split: str) -> Table:
    head = ["label", f"samples of {split}"]
    for run in runs:
        head += [f"{what}{run.among(runs)}" for what in ("average precision", "calibration error")]
    rows = []
    for name, by_run in scores.items():
        bases = _bases(scores, name)
        row = [name, f"{bases[0]:.1%}" if bases else "none" if name != ALL else ""]
        for run in runs:
            curve, calibration = by_run.get(run.name, (None, None))
            row.append(number(None if curve is None else curve.average))
            row.append(number(None if calibration is None else calibration.error))
        rows.append(row)
    note = (
        "calibration error: the expected one (ECE), the mean distance between a bin's predicted and observed share, "
        f"{_BINS} bins of equal width, weighted by their predictions; dimensionless. Checkpoint and decision threshold "
        "were chosen on valid, where all of this looks a little better than it is"
    )
    return Table("", head, rows, [note])


def _together(runs: Sequence[ReportedRun], split: str) -> list[Content]:
    """How often labels occur together: the true ones of each data set, and the predictions of each run."""
    pictures: list[Picture] = []
    drawn: set[str] = set()
    for run in runs:
        made, task = run.predictions[split], run.task
        assert task is not None
        there = made.target > 0.5
        shown = np.sort(np.argsort(-there.sum(0), kind="stable")[:_SHOWN])
        names = [run.outputs[k] for k in shown]
        if run.checksum not in drawn:
            of = f" of {run.name}" if drawn else ""
            drawn.add(run.checksum)
            pictures.append(_heat(f"True{of}", names, there[:, shown], split, 5))
        predicted = task.decide(made.predicted, run.decision) > 0
        pictures.append(_heat(f"Predicted by {run.name}", names, predicted[:, shown], split, run.place))
    caption = (
        "Of the samples with the row's label, the share that has the column's. A label is predicted if its "
        "probability is above the run's decision threshold; the row of one that never is holds zeros."
    )
    return section_of(f"Labels together, on {split}", pictures, caption)


def _heat(title: str, names: Sequence[str], labels: NDArray[np.bool_], split: str, colour: int) -> Picture:
    counts = labels.T.astype(np.int64) @ labels.astype(np.int64)
    shares = counts / np.maximum(np.diag(counts), 1)[:, None]
    drawn = heat_map(names, shares.tolist(), label=f"labels together on {split}: {title}", width=4.6, colour=colour)
    return Picture(title, drawn)
