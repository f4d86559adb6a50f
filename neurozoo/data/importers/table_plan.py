"""What each column of a user's table is: target, input, id, split; given by options or guessed."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neurozoo.data.importers.common import SPLITS
from neurozoo.data.importers.detected import UnclearError
from neurozoo.data.importers.splitting import GROUPS, some_of, usual_groups
from neurozoo.data.importers.table_rows import batches_of
from neurozoo.data.importers.table_targets import MOST_GUESSED
from neurozoo.errors import DataError, suggestion

__all__ = ["TARGETS", "Plan", "Task", "plan_table"]

TARGETS = ("label", "target", "class", "y")
Task = Literal["multiclass", "multilabel", "regression"]


@dataclass(frozen=True)
class Plan:
    """What each column is."""

    target: tuple[str, ...]
    task: Task
    signals: Mapping[str, tuple[str, ...]]
    ids: str
    split: str
    groups: str
    sequence: str
    rate: float | None
    missing: str


def plan_table(source: Path, options: Mapping[str, Any]) -> Plan:
    """Decide what each column is, by the options of ``import_table`` and what is usual.

    Raises:
        DataError: A column is missing or has text where numbers are needed, or several answers are possible.
    """
    first = next(batches_of(source), None)
    if first is None:
        raise DataError(f"{source} has no row below the names of its columns")
    columns = tuple(first.columns)

    def named(name: str, option: str, usual: Sequence[str] = ()) -> str:
        if name and name not in columns:
            raise DataError(
                f"{source} has no column {name!r} of --{option}; there are: {some_of(columns)}"
                + suggestion(name, columns)
            )
        return name or next((column for column in columns if column.lower() in usual), "")

    ids, sequence = named(options["ids"], "ids", ("id",)), named(options["sequence"], "sequence")
    groups = named(options["split_by"] or options["groups"], "groups")
    by_groups = options["split_by"] or any(options[name] for name in SPLITS)
    split = "" if by_groups else named(options["split"], "split", ("split",))
    target = tuple(named(name, "target") for name in options["target"])
    if not target:
        usual = [column for column in columns if column.lower() in TARGETS]
        if len(usual) != 1:
            raise UnclearError(
                f"{source}: which column is the target? there are: {some_of(columns)}; give --target COLUMN, or "
                "several with commas",
                {"target": (usual or [columns[-1]])[0]},
            )
        target = (usual[0],)
    groups = groups or _usual_groups(source, [name for name in columns if name not in {*target, *options["inputs"]}])
    taken = {*target, ids, split, groups, sequence}
    if options["inputs"]:
        signals = _matched(source, options["inputs"], columns, taken, target)
    else:
        signals = {"features": tuple(column for column in columns if column not in taken)}
    for column in (column for chosen in signals.values() for column in chosen):
        if (place := first.no_number(column)) is not None:
            shown = repr(first.columns[column][place])[:40]
            free = [each for each in columns if each not in taken and first.no_number(each) is None]
            raise UnclearError(
                f"{first.where[place]}: {column} is {shown}, and inputs are numbers; name the inputs by --inputs, or "
                "what this column is by --ids, --split, --groups, --sequence or --target",
                {"inputs": free or ["COLUMN"]},
            )
    if not any(signals.values()):
        raise DataError(f"{source} has no column left for an input; there are: {some_of(columns)}")
    task = options["task"] or _guessed_task(source, target)
    if task == "multiclass" and len(target) > 1:
        raise DataError(f"{source}: multiclass has one column of classes, and --target names {', '.join(target)}")
    rate, missing = options["rate"], options["missing"]
    return Plan(target, task, signals, ids, split, groups, sequence, rate, missing)


def _matched(
    source: Path, inputs: Sequence[str], columns: Sequence[str], taken: set[str], target: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    signals: dict[str, tuple[str, ...]] = {}
    for text in inputs:
        name, _, pattern = text.rpartition("=")
        exact = [column for column in columns if column == pattern]
        found = exact or [column for column in columns if fnmatch.fnmatchcase(column, pattern) and column not in taken]
        if exact and pattern in target:
            raise DataError(f"{source}: {pattern} is the target, and --inputs names it as well; name it once")
        if not found:
            raise DataError(
                f"{source} has no column {pattern!r} of --inputs; there are: {some_of(columns)}"
                + suggestion(pattern, columns)
            )
        known = signals.get(name or "features", ())
        signals[name or "features"] = known + tuple(column for column in found if column not in known)
    return signals


def _usual_groups(source: Path, columns: Sequence[str]) -> str:
    """Return the column with a usual name of groups and enough of them; an empty text if there is none."""
    values: dict[str, set[str]] = {column: set() for column in columns if column.lower() in GROUPS}
    for rows in batches_of(source, list(values)) if values else ():
        for column, known in values.items():
            known.update(map(str, rows.columns[column]))
    return usual_groups(values)


def _guessed_task(source: Path, target: Sequence[str]) -> Task:
    values: set[float] = set()
    for rows in batches_of(source, target):
        if any(rows.no_number(name) is not None for name in target):
            if len(target) == 1:
                return "multiclass"
            raise DataError(
                f"{source}: the targets {', '.join(target)} are not all numbers; give one column of classes"
            )
        for name in target:
            values |= set(np.unique(rows.numbers(name, "refuse")).tolist())
        if len(values) > MOST_GUESSED or any(value != int(value) for value in values):
            break
    whole = all(value == int(value) for value in values)
    if len(target) > 1 and values <= {0, 1}:
        return "multilabel"
    if len(target) == 1 and whole and len(values) <= MOST_GUESSED:
        return "multiclass"
    if not whole:
        return "regression"
    raise UnclearError(
        f"{source}: {', '.join(target)} {'has' if len(target) == 1 else 'have'} values such as "
        f"{', '.join(f'{value:g}' for value in sorted(values)[:4])}; say what they are by --task regression, "
        "multiclass or multilabel",
        {"task": "regression"},
    )
