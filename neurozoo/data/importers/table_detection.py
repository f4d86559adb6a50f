"""Detect a user's own table, arrays or files of samples, and what their import needs beyond what it guesses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

from neurozoo.data.importers.array_sources import TARGET_ARRAYS, Array, read_arrays, without_split
from neurozoo.data.importers.common import files_in, list_arrays
from neurozoo.data.importers.detected import DetectedFormat, UnclearError
from neurozoo.data.importers.splitting import some_of
from neurozoo.data.importers.table import import_table
from neurozoo.data.importers.table_arrays import ArrayPlan, plan_arrays
from neurozoo.data.importers.table_plan import TARGETS, plan_table
from neurozoo.data.importers.table_rows import columns_of
from neurozoo.data.untrusted.npz import names_in_npz
from neurozoo.errors import DataError

__all__ = ["FILE_OF_SPLIT", "detect_own", "detect_table"]

_OTHERS = ({"video_id", "segment_id"}, {"x", "y", "letters"}, {"x", "y", "t"}, {"x", "y", "ts"})
"""Columns of forms that other importers know: transcripts, Braille, events."""
FILE_OF_SPLIT = re.compile("_(train|valid|test)(_emb)?$")
"""Ends of names of files that other importers take as a folder."""
_TABLES = (".csv", ".parquet")
_ARRAYS = (".npz", ".npy")
_MOST_QUESTIONS = 4
_FEWEST = 3
"""Samples of arrays that are a data set: one for each split."""
_Planned = TypeVar("_Planned")


def detect_table(source: Path) -> DetectedFormat | None:
    """Detect a table or arrays with a usual name of a target; None if it is something else."""
    suffix = source.suffix.lower()
    if not source.is_file() or suffix not in (*_TABLES, ".npz") or FILE_OF_SPLIT.search(source.stem):
        return None
    columns = names_in_npz(source) if suffix == ".npz" else columns_of(source)
    names = {column.lower() for column in columns}
    known = {without_split(name) for name in names} if suffix == ".npz" else names
    usual = {*TARGET_ARRAYS, *TARGETS, "labels", "targets"}
    if not known & usual or any(names >= columns_of_others for columns_of_others in _OTHERS):
        return None
    return detect_own(source)


def detect_own(source: Path) -> DetectedFormat | None:
    """Describe a table, arrays or a folder of arrays that no other importer knows; None if they cannot be a data set.

    Raises:
        DataError: They cannot be read.
    """
    # The importer's defaults, to which what is unclear is added as questions come.
    defaults = {name: each.default for name, each in signature(import_table).parameters.items()}
    if source.is_file() and source.suffix.lower() in _TABLES:
        columns = columns_of(source)
        if len(columns) < 2:
            return None
        _, guess, notes = _plan(lambda options: plan_table(source, options), defaults)
        saw: tuple[str, ...] = (", ".join(columns),)
        why = "a table of your own"
    elif (source.is_file() and source.suffix.lower() == ".npz") or (
        source.is_dir() and files_in(source, *_ARRAYS, below=True)
    ):
        arrays = read_arrays(source)
        if len(arrays) < 2 or not any(x.ndim > 1 for x in arrays.values()):
            return None
        plan, guess, notes = _plan(lambda options: plan_arrays(source, arrays, options), defaults)
        if plan is not None and len(plan.y) < _FEWEST:
            return None
        saw = tuple(_line(name, x, plan) for name, x in arrays.items())
        why = "arrays of your own"
    else:
        return None
    options = [
        word
        for name, value in guess.items()
        for word in (f"--{name}", ",".join(value) if isinstance(value, list) else value)
    ]
    notes = [note.removeprefix(f"{source}: ") for note in notes]
    dest = f"stores/{source.resolve().stem}"
    return DetectedFormat("arrays", "; ".join([why, *notes]), saw, tuple(options), dest=dest)


def _plan(
    plan: Callable[[Mapping[str, Any]], _Planned], defaults: Mapping[str, Any]
) -> tuple[_Planned | None, dict[str, Any], list[str]]:
    """Return a plan, what had to be added to the defaults for it, and what was unclear; None if it stays unclear."""
    guess: dict[str, Any] = {}
    notes: list[str] = []
    for _ in range(_MOST_QUESTIONS):
        options = {**defaults, **{name: [value] if name == "target" else value for name, value in guess.items()}}
        try:
            return plan(options), guess, notes
        except UnclearError as error:
            notes.append(str(error))
            guess |= error.guess
        except DataError:
            # Of a name that only stands for one in the command.
            if not guess:
                raise
            break
    return None, guess, notes


def _line(name: str, x: Array, plan: ArrayPlan | None) -> str:
    """Return an array's shape, and what it is taken for."""
    text = list_arrays({name: x})
    if plan is None:
        return text
    if name == plan.target:
        kind = f"{plan.task}{f' at each position of {plan.along}' if plan.along else ''}"
        return f"{text}: the target, {kind}, {len(plan.outputs)} outputs: {some_of(plan.outputs)}"
    if name in plan.inputs.values():
        signal = next(signal for signal, of in plan.inputs.items() if of == name)
        shape = plan.shapes[signal]
        length = f"up to {shape.length}" if shape.ragged else f"{shape.length}"
        return f"{text}: the input {signal}, {length} positions of {list(shape.shape)}, {shape.dtype}"
    named = {plan.ids: "ids", plan.split: "splits", plan.groups: "groups, which no two splits share"}
    return f"{text}: {named[name]}" if name in named else text
