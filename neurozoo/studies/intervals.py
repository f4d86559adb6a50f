"""Means and differences with intervals: paired over seeds, and over resampled test samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Draws",
    "Estimate",
    "Interval",
    "Spread",
    "defined",
    "paired_difference",
    "resampled_difference",
    "resampled_scores",
    "spread",
    "student_interval",
]

Scores = Callable[[NDArray[np.int64]], Mapping[str, float]]
"""Scores by name of the samples at these places."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the half-width of its 95 % interval (Student's t); dimensionless."""

    mean: float
    half_width: float


@dataclass(frozen=True)
class Interval:
    """A difference with the ends of its 95 % interval; dimensionless."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Draws:
    """A score on all samples, and on those of each draw; dimensionless."""

    value: float
    drawn: tuple[float, ...]

    def minus(self, other: Draws) -> Interval:
        """Return the difference to another score with its 95 % interval over the draws, which are the same for both."""
        differences = np.array(self.drawn) - np.array(other.drawn)
        low, high = np.nanpercentile(differences, (2.5, 97.5))
        return Interval(self.value - other.value, float(low), float(high))


@dataclass(frozen=True)
class Spread:
    """A value over several seeds; dimensionless, or in nats for a loss.

    Attributes:
        values: One a seed.
        mean: Their mean.
        deviation: Their sample's standard deviation; NaN of one value alone.
        low: Lower end of the mean's 95 % interval (Student's t); NaN of one value alone.
        high: Its upper end.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    low: float
    high: float


def defined(value: float | None) -> float:
    """Convert a number from JSON, in which null stands for an undefined one, to a float or NaN."""
    return float("nan") if value is None else float(value)


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of a value over seeds; NaN if one of them is."""
    found = student_interval(np.array(values, dtype=np.float64))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Spread(tuple(values), found.mean, deviation, found.mean - found.half_width, found.mean + found.half_width)


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Return the mean of ``values - reference``, paired by seed, with its 95 % interval (Student's t)."""
    return student_interval(np.array(values) - np.array(reference))


def student_interval(sample: NDArray[np.float64]) -> Estimate:
    """Return the mean of a sample with its 95 % interval (Student's t); its width is NaN for a single value."""
    from scipy.stats import t

    n = len(sample)
    half_width = float(t.ppf(0.975, n - 1) * sample.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return Estimate(float(sample.mean()), half_width)


def resampled_difference(
    ours: Scores, theirs: Sequence[Scores], groups: Sequence[str], *, draws: int = 400, seed: int = 0
) -> dict[str, Interval]:
    """Return how far ``ours`` is from the mean of ``theirs``, with intervals over resampled samples.

    Paired percentile bootstrap (Efron & Tibshirani 1993, chapter 13): every draw scores all models on the same
    samples. A sample's group is drawn whole, as segments of a video are no independent samples.
    """
    rows = resampled_scores({"ours": [ours], "theirs": theirs}, groups, draws=draws, seed=seed)
    return {name: rows["ours"][name].minus(rows["theirs"][name]) for name in rows["ours"]}


def resampled_scores(
    rows: Mapping[str, Sequence[Scores]], groups: Sequence[str], *, draws: int = 400, seed: int = 0
) -> dict[str, dict[str, Draws]]:
    """Return the scores of several rows, each the mean of its models, on resampled groups of samples.

    Every draw scores all models of all rows on the same samples; see :func:`resampled_difference`.

    Args:
        rows: The models of each row.
        groups: What each sample belongs to.
        draws: How many times groups are drawn.
        seed: Of the draws.
    """
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    rng = np.random.default_rng(seed)

    def means(places: NDArray[np.int64]) -> dict[str, dict[str, float]]:
        found = {row: [scores(places) for scores in models] for row, models in rows.items()}
        return {row: {name: float(np.mean([s[name] for s in by])) for name in by[0]} for row, by in found.items()}

    whole = means(np.arange(len(group)))
    drawn: dict[str, dict[str, list[float]]] = {row: {name: [] for name in by} for row, by in whole.items()}
    for _ in range(draws):
        some = rng.integers(0, len(members), len(members))
        for row, by in means(np.concatenate([members[i] for i in some])).items():
            for name, value in by.items():
                drawn[row][name].append(value)
    return {
        row: {name: Draws(value, tuple(drawn[row][name])) for name, value in by.items()} for row, by in whole.items()
    }
