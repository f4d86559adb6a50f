"""What an arena found, row by row and in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neurozoo.core.task import Decision, Task
from neurozoo.studies.arena.choosing import ONE
from neurozoo.studies.arena.description import Family
from neurozoo.studies.intervals import Draws, Estimate, Interval, paired_difference, student_interval

__all__ = ["SCHEMA", "ArenaResult", "Comparison", "RowResult", "compared", "estimate", "front", "ranked"]

SCHEMA = 1

Values = Mapping[str, Sequence[float]]
"""By metric, one number a seed."""


@dataclass(frozen=True)
class RowResult:
    """One row.

    Attributes:
        name: Of the row.
        family: See :data:`~neurozoo.studies.arena.description.Family`.
        test: By decision and metric, one number a seed; one number for a floor, which has no seed.
        decisions: By name, of each seed; see :data:`~neurozoo.studies.arena.choosing.ONE`.
        valid: By metric, at the chosen epoch and the one threshold.
        epochs: The chosen epoch of each seed.
        resampled: By metric, the mean over seeds on test with its 95 % interval over resampled groups.
        corrupted: By corruption and metric, one number a seed.
        lesion: By kind and metric, with the spikes of other samples, or none.
        leak: By metric and what test would choose, one number a seed; empty if that was not asked for.
        parameters: Learnable ones; None for a floor.
        minutes: Training time of a seed, the mean.
        cost: Of one sample, of the first seed's model; None for a floor.
        control_of: The row that it is compared with, see the arena's file.
        without: What it lacks of that one.
        changes: Its overrides.
    """

    name: str
    family: Family
    test: Mapping[str, Values]
    decisions: Mapping[str, Sequence[Decision]]
    valid: Values = field(default_factory=dict)
    epochs: Sequence[int] = ()
    resampled: Mapping[str, Interval] = field(default_factory=dict)
    corrupted: Mapping[str, Values] = field(default_factory=dict)
    lesion: Mapping[str, Values] = field(default_factory=dict)
    leak: Mapping[str, Values] = field(default_factory=dict)
    parameters: int | None = None
    minutes: float | None = None
    cost: Mapping[str, float] | None = None
    control_of: str | None = None
    without: str | None = None
    changes: Sequence[str] = ()

    @property
    def seeds(self) -> int:
        """How many trainings it has; 0 for the floors that need none."""
        return len(self.epochs)

    @property
    def operations(self) -> float:
        """Multiplications, accumulations and updates of a sample; NaN if they were not counted."""
        return math.nan if self.cost is None else sum(self.cost[each] for each in ("macs", "acs", "updates"))

    @property
    def milliseconds(self) -> float:
        """Of a sample alone on one thread; NaN if it was not timed."""
        return math.nan if self.cost is None else self.cost["milliseconds"]

    def mean(self, metric: str, decision: str = ONE) -> float:
        """Return a score on test, the mean over seeds; NaN if it is not defined."""
        return estimate(self.test.get(decision, {}).get(metric, ())).mean


@dataclass(frozen=True)
class Comparison:
    """One row minus another, in one metric on test.

    Attributes:
        row: The one.
        other: The other.
        metric: Its name.
        seeds: Paired by seed; None where one of them has no seeds.
        groups: Of the means over seeds, over resampled groups of test samples.
    """

    row: str
    other: str
    metric: str
    seeds: Estimate | None
    groups: Interval


@dataclass(frozen=True)
class ArenaResult:
    """What an arena found.

    Attributes:
        schema: Version of this layout.
        name: Of the arena.
        description: Its one line.
        synthetic: Whether the data is made up.
        data: Source, splits and checksum of the data, and how many groups test has.
        overrides: Changes to all recipes.
        seeds: The seeds of every trained row.
        left_out: Rows of the arena's file that were not asked for.
        trials: Settings that each row could choose from on valid.
        metric: What chose the epochs, on valid.
        ranking: What rows are ranked by, on test.
        decided: The metric that thresholds maximise; None if the task has no threshold.
        task: Name of the task.
        titles: Of each metric, in order.
        definitions: Of each metric.
        better: Whether higher or lower values of each metric are better.
        rows: The best first.
        leading: Each row minus the best trained one, in the metrics ranking and decided.
        controls: Each row that has a control, minus its control.
        notes: What a reader has to know.
        minutes: Sum of the training times.
        folder: Of the runs and of ``arena.json``, which holds all but this.
    """

    schema: int
    name: str
    description: str
    synthetic: bool
    data: Mapping[str, Any]
    overrides: Sequence[str]
    seeds: Sequence[int]
    left_out: Sequence[str]
    trials: int
    metric: str
    ranking: str
    decided: str | None
    task: str
    titles: Mapping[str, str]
    definitions: Mapping[str, str]
    better: Mapping[str, str]
    rows: Sequence[RowResult]
    leading: Sequence[Comparison]
    controls: Sequence[Comparison]
    notes: Sequence[str]
    minutes: float
    folder: str

    def row(self, name: str) -> RowResult:
        """Return the row of a name."""
        return next(each for each in self.rows if each.name == name)

    @property
    def trained(self) -> list[RowResult]:
        """The rows that were trained, the best first."""
        return [row for row in self.rows if row.seeds]

    @property
    def compared(self) -> tuple[str, ...]:
        """The metrics that rows are compared in."""
        return (self.ranking,) if self.decided in (None, self.ranking) else (self.ranking, str(self.decided))


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds with its interval; NaN without values."""
    return student_interval(np.array(values, np.float64)) if len(values) else Estimate(math.nan, math.nan)


def ranked(rows: Sequence[RowResult], task: Task, metric: str) -> list[RowResult]:
    """Return rows with the best mean score on test first, undefined ones last."""

    def score(row: RowResult) -> float:
        value = task.score({metric: row.mean(metric)}, metric)
        return -math.inf if math.isnan(value) else value

    return sorted(rows, key=score, reverse=True)


def front(
    rows: Sequence[RowResult], score: Callable[[RowResult], float], cost: Callable[[RowResult], float]
) -> list[str]:
    """Return the names of the rows that no other one beats: at least as good and cheaper, or better and as cheap.

    Args:
        rows: The rows.
        score: Of a row; larger is better.
        cost: Of a row; smaller is better.
    """
    known = [(score(row), cost(row), row.name) for row in rows]
    known = [each for each in known if math.isfinite(each[0]) and math.isfinite(each[1])]
    return [
        name
        for good, dear, name in known
        if not any(s >= good and c <= dear and (s > good or c < dear) for s, c, _ in known)
    ]


def compared(
    row: RowResult, other: RowResult, metrics: Sequence[str], draws: Mapping[str, Mapping[str, Draws]]
) -> list[Comparison]:
    """Return one row minus another in each metric; ``draws`` are by row and metric."""
    found = []
    for metric in metrics:
        ours, theirs = row.test[ONE][metric], other.test[ONE][metric]
        paired = bool(row.seeds and other.seeds)
        groups = draws[row.name][metric].minus(draws[other.name][metric])
        found.append(
            Comparison(row.name, other.name, metric, paired_difference(ours, theirs) if paired else None, groups)
        )
    return found
