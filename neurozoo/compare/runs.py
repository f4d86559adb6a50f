"""Finished runs side by side: their scores, and what of their recipes differs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurozoo.core.leaves import leaves
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.operations.profiling import kept_profile
from neurozoo.operations.result import OperationsProfile
from neurozoo.runs.trained_folder import Trained, data_name, open_trained

__all__ = [
    "OnData",
    "RunResult",
    "RunsComparison",
    "Spread",
    "check_same_data",
    "check_same_task",
    "compare_runs",
    "differences",
    "notes",
]

SCHEMA = 1
"""Version of the layout that :meth:`RunsComparison.to_dict` gives."""


@dataclass(frozen=True)
class OnData:
    """A run and the data that it was made with.

    Attributes:
        run: Its folder, as it was named.
        data: The store's own name.
        checksum: Of the data; empty if unknown.
        synthetic: Whether the data is made up.
        splits: How many samples each split has.
        definitions: What each metric is.
    """

    run: str
    data: str
    checksum: str
    synthetic: bool
    splits: Mapping[str, int]
    definitions: Mapping[str, str]


@dataclass(frozen=True)
class RunResult(OnData):
    """The summary of one finished run.

    Attributes:
        recipe: Name of its recipe.
        model: Name of the model.
        backend: What it was trained on.
        seed: Of all that is random.
        epochs: How many were trained.
        best_epoch: The one whose weights were kept.
        parameters: Learnable ones.
        task: Name of the task.
        decision: The rule by which a prediction becomes an answer, and its threshold; None where the task has none.
        metrics: By split and name.
        lesion: By kind, then by split.
        threshold: The firing threshold on valid, and what its policy reports.
        seconds: How long it took.
        versions: Of the libraries.
        operations: What `neurozoo profile` counted; None where it did not.
    """

    recipe: str
    model: str
    backend: str
    seed: int
    epochs: int
    best_epoch: int
    parameters: int
    task: str
    decision: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float | None]]
    lesion: Mapping[str, Mapping[str, float | None]]
    threshold: Mapping[str, float]
    seconds: float
    versions: Mapping[str, str]
    operations: OperationsProfile | None = None


@dataclass(frozen=True)
class Spread:
    """Runs that differ by their seed alone.

    Attributes:
        runs: Their folders.
        mean: By split and metric.
        deviation: Of the sample, by split and metric.
    """

    runs: tuple[str, ...]
    mean: Mapping[str, Mapping[str, float]]
    deviation: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunsComparison:
    """Several runs side by side; no verdict.

    Attributes:
        runs: As they were named.
        recipes_differ: By dotted path, the value of each run; None where it has none.
        spreads: Groups of runs that differ by their seed alone.
        notes: What makes numbers hard to compare, in words.
    """

    runs: tuple[RunResult, ...]
    recipes_differ: Mapping[str, tuple[Any, ...]]
    spreads: tuple[Spread, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain dicts, lists and numbers."""
        return {"schema": SCHEMA, **asdict(self)}


def compare_runs(folders: Sequence[Path], *, mixed: bool = False) -> RunsComparison:
    """Line up finished runs.

    Args:
        folders: Two or more run folders.
        mixed: Whether runs on different data, or on made-up and real data, may stand side by side.

    Raises:
        RunError: A folder is no run, or its run is not finished.
        DataError: The runs are of different tasks; or they were made with different data, and ``mixed`` is not set.
        UserError: There are fewer than two, or one is named twice.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UserError(
            f"given were the runs {', '.join(map(str, folders)) or 'none'}; give two or more different ones"
        )
    runs = [open_trained(folder) for folder in folders]
    unfinished = [str(run.folder) for run in runs if not run.finished]
    if unfinished:
        raise RunError(
            f"{', '.join(unfinished)}: not finished, there is no summary.json; leave out what is still being trained"
        )
    check_same_task([(str(run.folder), run.recipe.task.name) for run in runs])
    contents = [run.recipe.content for run in runs]
    results = tuple(_result(run, content) for run, content in zip(runs, contents, strict=True))
    if not mixed:
        check_same_data(results)
    flat = [dict(leaves(content)) for content in contents]
    return RunsComparison(results, differences(contents), tuple(_spreads(results, flat)), tuple(notes(results)))


def check_same_task(tasks: Sequence[tuple[str, str]]) -> None:
    """Refuse runs whose metrics are not the same.

    Args:
        tasks: Of each run its folder, and the name of its task.

    Raises:
        DataError: There are several tasks.
    """
    if len({task for _, task in tasks}) > 1:
        which = "; ".join(f"{folder}: {task}" for folder, task in tasks)
        raise DataError(
            f"the runs are of different tasks: {which}; their metrics do not compare; give runs of one task"
        )


def differences(recipes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What differs between resolved recipes: by dotted path, the value of each; None where it has none."""
    flat = [dict(leaves(content)) for content in recipes]
    paths = sorted({path for each in flat for path in each})
    values = {path: tuple(each.get(path) for each in flat) for path in paths}
    return {path: each for path, each in values.items() if any(value != each[0] for value in each)}


def _result(run: Trained, content: Mapping[str, Any]) -> RunResult:
    summary = run.summary
    same = (
        "recipe",
        "model",
        "backend",
        "seed",
        "synthetic",
        "epochs",
        "best_epoch",
        "parameters",
        "metrics",
        "lesion",
    )
    return RunResult(
        run=str(run.folder),
        **{name: summary[name] for name in (*same, "threshold")},
        data=data_name(content.get("data", {}), summary["data"]),
        checksum=summary["data"]["checksum"],
        task=run.recipe.task.name,
        decision={
            "rule": content.get("task", {}).get("params", {}).get("decision", "fixed"),
            "threshold": run.decision,
        },
        seconds=summary["duration_seconds"],
        versions=summary["environment"]["versions"],
        definitions=summary["metric_definitions"],
        splits=summary["data"]["splits"],
        operations=kept_profile(run),
    )


def check_same_data(runs: Sequence[OnData]) -> None:
    """Refuse to put numbers side by side that were measured on different samples.

    Raises:
        DataError: The runs were made with different data, or with made-up and real data.
    """
    for what, kinds in (
        ("synthetic and real data are mixed", [("SYNTHETIC" if each.synthetic else "real") for each in runs]),
        # One store is the same data under every name.
        ("the runs were made with different data", [each.checksum or each.data for each in runs]),
    ):
        if len(set(kinds)) > 1:
            words = (
                kinds if set(kinds) <= {"SYNTHETIC", "real"} else [f"{each.data} {each.checksum[:12]}" for each in runs]
            )
            which = "; ".join(f"{each.run}: {word}" for each, word in zip(runs, words, strict=True))
            raise DataError(f"{what}: {which}; their scores do not compare; give --mixed to see them all the same")


def _spreads(runs: Sequence[RunResult], flat: Sequence[Mapping[str, Any]]) -> Iterator[Spread]:
    groups: dict[str, list[RunResult]] = {}
    for run, values in zip(runs, flat, strict=True):
        # Loggers do not influence a training.
        aside = ("seed", "training.loggers")
        but_for_the_seed = sorted((path, repr(value)) for path, value in values.items() if path not in aside)
        groups.setdefault(repr((run.checksum, but_for_the_seed)), []).append(run)
    for group in groups.values():
        if len({run.seed for run in group}) < 2:
            continue
        values = _by_metric(group)
        yield Spread(
            tuple(run.run for run in group),
            {s: {name: statistics.fmean(v) for name, v in by.items()} for s, by in values.items()},
            {s: {name: statistics.stdev(v) for name, v in by.items()} for s, by in values.items()},
        )


def _by_metric(group: Sequence[RunResult]) -> dict[str, dict[str, list[float]]]:
    """Each metric's values over a group, where all of it has one."""
    found: dict[str, dict[str, list[float]]] = {}
    for split, metrics in group[0].metrics.items():
        for name in metrics:
            values = [run.metrics.get(split, {}).get(name) for run in group]
            known = [value for value in values if value is not None]
            if len(known) == len(group):
                found.setdefault(split, {})[name] = known
    return found


def notes(runs: Sequence[OnData]) -> Iterator[str]:
    """What makes the numbers of these runs hard to compare, in words."""
    if len({run.checksum for run in runs}) > 1:
        yield "the runs were made with different data: their scores do not compare"
    if len({run.synthetic for run in runs}) > 1:
        yield "some runs are on SYNTHETIC data and some are not: their scores do not compare"
    if any(run.splits != runs[0].splits for run in runs):
        sizes = "; ".join(f"{run.run}: {', '.join(f'{name} {n}' for name, n in run.splits.items())}" for run in runs)
        yield f"the splits differ: {sizes}"
    changed = sorted(
        {
            name
            for run in runs
            for name in run.definitions.keys() | runs[0].definitions.keys()
            if run.definitions.get(name) != runs[0].definitions.get(name)
        }
    )
    if changed:
        yield f"metrics of the same name are defined differently: {', '.join(changed)}"
