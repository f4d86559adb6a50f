"""The result of an arena, from what its rows and floors answered on test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.task import Decision, Task
from neurozoo.errors import DataError, RunError
from neurozoo.files.json_text import read_json
from neurozoo.models.build import open_experiment
from neurozoo.runs.json_files import write_json
from neurozoo.studies.arena.choosing import CALIBRATION, EMPTY, ONE, scores_of, threshold_metric
from neurozoo.studies.arena.description import Arena, RowEntry
from neurozoo.studies.arena.floors import Floor, kept_floors, without_words
from neurozoo.studies.arena.leak import read_leak
from neurozoo.studies.arena.measuring import read_measured, read_predictions
from neurozoo.studies.arena.result import SCHEMA, ArenaResult, RowResult, compared, estimate, ranked
from neurozoo.studies.baseline import answers
from neurozoo.studies.intervals import Draws, Interval, Scores, defined, resampled_scores
from neurozoo.tasks.multilabel import Multilabel

__all__ = ["DRAWS", "gathered"]

DRAWS = 200
"""How often groups of test samples are drawn."""

_EXTRA = {
    EMPTY: ("no label", "share of samples that are predicted to have no label", "lower"),
    CALIBRATION: (
        "calibration error",
        "expected calibration error of the labels, each of a sample as two classes: mean of |share right - mean "
        "probability| of the more probable one in 15 equal-width bins",
        "lower",
    ),
}
"""Title, definition and better direction of the scores that the task of several labels lacks."""


def gathered(
    arena: Arena, out: Path, seeds: Sequence[int], tuned: Mapping[str, Sequence[str]], signals: Sequence[str]
) -> ArenaResult:
    """Return the result of an arena whose rows are trained and measured.

    Args:
        arena: The arena.
        out: Its folder.
        seeds: Of all rows.
        tuned: Overrides of each row's setting.
        signals: Names of all signals that rows see.

    Raises:
        RunError: A row was not measured.
    """
    experiment = open_experiment(arena.base)
    view, task, metric = experiment.view, experiment.problem.task, arena.file.metric
    view.check_samples("test")
    target, places = answers(view, "test")
    groups = [arena.group_of(view.split("test").ids[place]) for place in places]
    ranking = task.selection
    decided = threshold_metric(task, metric) if isinstance(task, Multilabel) else None
    names = [ranking] if decided in (None, ranking) else [ranking, str(decided)]

    floors = kept_floors(out / "floors.safetensors", view, task, metric)
    rows = [_floor_row(each, task, target) for each in floors]
    models: dict[str, list[tuple[NDArray[Any], Decision]]] = {
        each.name: [(each.test, each.decisions[ONE])] for each in floors
    }
    for row in arena.rows:
        found = [read_measured(arena, out, row, seed) for seed in seeds]
        if any(each is None for each in found):
            raise RunError(f"{out}: {row.name} was not measured with all seeds; the same command continues")
        measured = [each for each in found if each is not None]
        leaks = [read_leak(arena, out, row, seed) for seed in seeds]
        rows.append(_trained_row(row, measured, leaks, (*row.lines(), *tuned[row.name])))
        models[row.name] = [
            (read_predictions(out, row, seed), each["decisions"][ONE])
            for seed, each in zip(seeds, measured, strict=True)
        ]
    draws = _kept_draws(out / "resampled.json", models, task, target, groups, names)
    rows = [_with_interval(row, draws[row.name]) for row in ranked(rows, task, ranking)]
    by_name = {row.name: row for row in rows}
    first = next(row for row in rows if row.seeds)
    controls = [(by_name[row.control_of], row) for row in rows if row.control_of in by_name]
    titles = {each.name: each.title for each in task.metrics}
    definitions = dict(task.definitions)
    better: dict[str, str] = {name: task.better(name) for name in titles}
    if isinstance(task, Multilabel):
        titles |= {name: texts[0] for name, texts in _EXTRA.items()}
        definitions |= {name: texts[1] for name, texts in _EXTRA.items()}
        better |= {name: texts[2] for name, texts in _EXTRA.items()}
    return ArenaResult(
        schema=SCHEMA,
        name=arena.name,
        description=arena.file.description,
        synthetic=view.description.synthetic,
        data={
            "source": view.description.origin.get("source", "unknown"),
            "splits": dict(view.description.splits),
            "checksum": view.description.checksum,
            "groups": len(set(groups)),
            "signals": list(signals),
        },
        overrides=arena.overrides,
        seeds=tuple(seeds),
        left_out=tuple(row.name for row in arena.file.rows if row not in arena.rows),
        trials=arena.file.trials,
        metric=metric,
        ranking=ranking,
        decided=decided,
        task=task.name,
        titles=titles,
        definitions=definitions,
        better=better,
        rows=rows,
        leading=[each for row in rows if row is not first for each in compared(row, first, names, draws)],
        controls=[each for row, control in controls for each in compared(row, control, names, draws)],
        notes=[text for text in (without_words(view),) if text],
        minutes=sum((row.minutes or 0.0) * len(seeds) for row in rows),
        folder=str(out),
    )


def _floor_row(floor: Floor, task: Task, target: NDArray[Any]) -> RowResult:
    test = {
        name: {metric: [value] for metric, value in scores_of(task, target, floor.test, decision).items()}
        for name, decision in floor.decisions.items()
    }
    return RowResult(floor.name, "floor", test, {name: [each] for name, each in floor.decisions.items()})


def _trained_row(
    row: RowEntry,
    measured: Sequence[Mapping[str, Any]],
    leaks: Sequence[Mapping[str, Any] | None],
    changes: Sequence[str],
) -> RowResult:
    first = measured[0]

    def by_seed(*path: str) -> dict[str, list[float]]:
        return {metric: [defined(_at(each, path)[metric]) for each in measured] for metric in _at(first, path)}

    known = [each["metrics"] for each in leaks if each is not None]
    leak: dict[str, dict[str, list[float]]] = {}
    if len(known) == len(measured):
        leak = {
            metric: {what: [defined(each[metric][what]) for each in known] for what in by}
            for metric, by in known[0].items()
        }
    return RowResult(
        name=row.name,
        family=row.family,
        test={name: by_seed("test", name) for name in first["test"]},
        decisions={name: [each["decisions"][name] for each in measured] for name in first["decisions"]},
        valid=by_seed("valid"),
        epochs=[each["epoch"] for each in measured],
        corrupted={what: by_seed("corrupted", what) for what in first["corrupted"]},
        lesion={kind: by_seed("lesion", kind) for kind in first["lesion"]},
        leak=leak,
        parameters=first["parameters"],
        minutes=estimate([each["minutes"] for each in measured]).mean,
        cost=first["cost"],
        control_of=row.control_of,
        without=row.without,
        changes=tuple(changes),
    )


def _at(record: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for key in path:
        record = record[key]
    return record


def _with_interval(row: RowResult, draws: Mapping[str, Draws]) -> RowResult:
    nothing = Draws(0.0, (0.0,) * len(next(iter(draws.values())).drawn))
    resampled: dict[str, Interval] = {metric: each.minus(nothing) for metric, each in draws.items()}
    return RowResult(**{**vars(row), "resampled": resampled})


def _kept_draws(
    path: Path,
    models: Mapping[str, Sequence[tuple[NDArray[Any], Decision]]],
    task: Task,
    target: NDArray[Any],
    groups: Sequence[str],
    names: Sequence[str],
) -> dict[str, dict[str, Draws]]:
    """Return the scores of each row on resampled groups, from a file if it is of the same predictions."""
    digest = hashlib.sha256(json.dumps([DRAWS, list(names), list(groups)]).encode())
    for name, each in models.items():
        for predicted, decision in each:
            digest.update(json.dumps([name, decision]).encode() + np.ascontiguousarray(predicted).tobytes())
    if path.is_file():
        kept = read_json(path, error=RunError)
        if kept.get("of") == digest.hexdigest():
            return {
                row: {m: Draws(defined(v["value"]), tuple(map(defined, v["drawn"]))) for m, v in by.items()}
                for row, by in kept["rows"].items()
            }

    def scores(predicted: NDArray[Any], decision: Decision) -> Scores:
        return lambda places: task.measure(target[places], predicted[places], decision, names)

    if any(len(predicted) != len(target) for each in models.values() for predicted, _ in each):
        raise DataError(f"{path.parent}: predictions are of another test split; give another --out")
    draws = resampled_scores(
        {name: [scores(*model) for model in each] for name, each in models.items()}, groups, draws=DRAWS
    )
    rows = {name: {metric: asdict(each) for metric, each in by.items()} for name, by in draws.items()}
    write_json(path, {"of": digest.hexdigest(), "rows": rows})
    return draws
