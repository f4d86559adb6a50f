"""Importer of a user's own table: CSV or Parquet with a row a sample or a position, npz with an array a column.

What is not told is guessed where there is one answer, and asked for where there is not.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, UNKNOWN, origin_of
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.splitting import described, draw_splits, natural, split_by_values, split_names
from neurozoo.data.importers.table_arrays import import_arrays
from neurozoo.data.importers.table_rows import Rows, batches_of, columns_of
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.npz import names_in_npz
from neurozoo.errors import DataError, suggestion

__all__ = ["detect_table", "import_table"]

_TARGETS = ("label", "target", "class", "y")
_MANY = ("labels", "targets")
_OTHERS = ({"video_id", "segment_id"}, {"x", "y", "letters"}, {"x", "y", "t"}, {"x", "y", "ts"})
"""Columns of forms that other importers know: transcripts, Braille, events."""
_FILE_OF_SPLIT = re.compile("_(train|valid|test)(_emb)?$")
_MOST_SAMPLES = 20_000_000
_MOST_CLASSES = 10_000
_LONGEST = 100_000
"""Rows of one sample."""
_MOST_GUESSED = 50
"""Different whole numbers of a target up to which it is guessed to be a class."""
Task = Literal["multiclass", "multilabel", "regression"]


def import_table(
    source: Path,
    dest: Path,
    *,
    target: Sequence[str] = (),
    task: Task | None = None,
    inputs: Sequence[str] = (),
    ids: str = "",
    split: str = "",
    split_by: str = "",
    train: Sequence[str] = (),
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: Annotated[int, Field(ge=0)] = 0,
    sequence: str = "",
    rate: Annotated[float, Field(gt=0, le=1e9)] | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
) -> Store:
    """Make a store of a table of your own.

    CSV and Parquet: a row is a sample, or with ``sequence`` a position of one. They are read twice, in pieces, so that
    they need not fit into memory. npz: an array is a column, its first axis the samples; targets ``[N, L]`` or
    ``[N, L, K]`` along an input ``[N, L, ...]`` are targets per step; an array ``NAME_length`` ``[N]`` gives the
    positions that each sample has of the input ``NAME``.

    Args:
        source: A ``.csv``, ``.parquet`` or ``.npz`` file.
        dest: The store's folder; new or empty.
        target: The column of the class or number, or the columns of the labels or numbers. By default the one called
            label, target, class or y.
        task: ``multiclass``, ``multilabel`` or ``regression``. By default several columns of 0 and 1 are labels, texts
            and up to 50 different whole numbers classes; anything else has to be told.
        inputs: The columns that a model sees, as names or patterns such as ``acc_*``; ``NAME=PATTERN`` puts them into
            a signal of that name. By default every other column, which all have to be numbers, as ``features``.
        ids: The column that names samples; by default the one called id.
        split: The column that holds train, valid or test; by default the one called split.
        split_by: The column of groups, such as people, that no two splits share.
        train: The groups of train, by name or as ranges of whole numbers ``1..9``; by default the rest.
        valid: The groups of valid.
        test: The groups of test. Without any of these groups are drawn; without groups, samples.
        seed: Seed of a draw.
        sequence: The column that is the same in the rows of a sample; they follow one another, one a position.
        rate: Positions a second of ``sequence``, or of the inputs of an npz; by default unknown.
        missing: Whether empty cells of inputs are refused, or become 0.

    Raises:
        DataError: A row or column is malformed, named by line and name; or something cannot be guessed.
    """
    chosen = {"train": train, "valid": valid, "test": test}
    options = {
        "target": list(target),
        "task": task,
        "inputs": list(inputs),
        "ids": ids,
        "split": split,
        "split_by": split_by,
        **{name: list(values) for name, values in chosen.items()},
        "seed": seed,
        "sequence": sequence,
        "rate": rate,
        "missing": missing,
    }
    if any(chosen.values()) and not split_by:
        raise DataError("--train, --valid and --test name values of a column; name it by --split-by COLUMN")
    if split and split_by:
        raise DataError("--split and --split-by both say where samples belong; give one of them")
    origin = origin_of("table", source.name, UNKNOWN, **options)
    if source.suffix == ".npz":
        return import_arrays(source, dest, options, origin)
    plan = _planned(source, options)
    found = _scanned(source, plan)
    names, rule = _splits(source, plan, found, options)
    return _written(source, dest, plan, found, names, origin | {"splits": described(names, rule)})


def detect_table(source: Path) -> DetectedFormat | None:
    """Detect a table with a column that may be its target; None if it is something else."""
    suffix = source.suffix.lower()
    if suffix not in (".csv", ".parquet", ".npz") or not source.is_file() or _FILE_OF_SPLIT.search(source.stem):
        return None
    columns = names_in_npz(source) if suffix == ".npz" else columns_of(source)
    names = {column.lower() for column in columns}
    if not names & {*_TARGETS, *_MANY} or any(names >= columns_of_others for columns_of_others in _OTHERS):
        return None
    return DetectedFormat("table", "a table with a column that may be the target", (", ".join(columns),))


@dataclass(frozen=True)
class _Plan:
    """What each column is."""

    target: tuple[str, ...]
    task: Task
    signals: Mapping[str, tuple[str, ...]]
    ids: str
    split: str
    split_by: str
    sequence: str
    rate: float | None
    missing: str


@dataclass(frozen=True)
class _Found:
    """What a first reading of a table found, a value a sample."""

    where: list[str]
    lengths: list[int]
    splits: list[str]
    groups: list[str]
    classes: list[str]


def _planned(source: Path, options: Mapping[str, Any]) -> _Plan:
    first = next(batches_of(source), None)
    if first is None:
        raise DataError(f"{source} has no row below the names of its columns")
    columns = tuple(first.columns)

    def named(name: str, option: str, usual: Sequence[str] = ()) -> str:
        if name and name not in columns:
            raise DataError(
                f"{source} has no column {name!r} of --{option}; there are: {_some(columns)}{suggestion(name, columns)}"
            )
        return name or next((column for column in columns if column.lower() in usual), "")

    ids, sequence = named(options["ids"], "ids", ("id",)), named(options["sequence"], "sequence")
    split_by = named(options["split_by"], "split-by")
    split = "" if split_by else named(options["split"], "split", ("split",))
    target = tuple(named(name, "target") for name in options["target"])
    if not target:
        usual = [column for column in columns if column.lower() in _TARGETS]
        if len(usual) != 1:
            raise DataError(
                f"{source}: which column is the target? there are: {_some(columns)}; give --target COLUMN, or several "
                "with commas"
            )
        target = (usual[0],)
    told = {*target, ids, split, split_by, sequence}
    if options["inputs"]:
        signals = _matched(source, options["inputs"], columns, told)
    else:
        signals = {"features": tuple(column for column in columns if column not in told)}
    for column in (column for chosen in signals.values() for column in chosen):
        if (place := first.no_number(column)) is not None:
            shown = repr(first.columns[column][place])[:40]
            raise DataError(
                f"{first.where[place]}: {column} is {shown}, and inputs are numbers; name the inputs by --inputs, or "
                "what this column is by --ids, --split, --split-by, --sequence or --target"
            )
    if not any(signals.values()):
        raise DataError(f"{source} has no column left for an input; there are: {_some(columns)}")
    task = options["task"] or _guessed_task(source, target)
    if task == "multiclass" and len(target) > 1:
        raise DataError(f"{source}: multiclass has one column of classes, and --target names {', '.join(target)}")
    rate, missing = options["rate"], options["missing"]
    return _Plan(target, task, signals, ids, split, split_by, sequence, rate, missing)


def _matched(source: Path, inputs: Sequence[str], columns: Sequence[str], told: set[str]) -> dict[str, tuple[str, ...]]:
    signals: dict[str, tuple[str, ...]] = {}
    for text in inputs:
        name, _, pattern = text.rpartition("=")
        exact = [column for column in columns if column == pattern]
        found = exact or [column for column in columns if fnmatch.fnmatchcase(column, pattern) and column not in told]
        if not found:
            raise DataError(
                f"{source} has no column {pattern!r} of --inputs; there are: {_some(columns)}"
                + suggestion(pattern, columns)
            )
        known = signals.get(name or "features", ())
        signals[name or "features"] = known + tuple(column for column in found if column not in known)
    return signals


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
        if len(values) > _MOST_GUESSED or any(value != int(value) for value in values):
            break
    whole = all(value == int(value) for value in values)
    if len(target) > 1 and values <= {0, 1}:
        return "multilabel"
    if len(target) == 1 and whole and len(values) <= _MOST_GUESSED:
        return "multiclass"
    raise DataError(
        f"{source}: {', '.join(target)} {'has' if len(target) == 1 else 'have'} values such as "
        f"{', '.join(f'{value:g}' for value in sorted(values)[:4])}; say what they are by --task regression, "
        "multiclass or multilabel"
    )


def _samples(source: Path, plan: _Plan, columns: Sequence[str]) -> Iterator[tuple[Rows, list[int]]]:
    """Yield rows of whole samples, and the first row of each."""
    rest: Rows | None = None
    for batch in batches_of(source, [*dict.fromkeys([*columns, *([plan.sequence] if plan.sequence else [])])]):
        if not plan.sequence:
            yield batch, list(range(len(batch.where)))
            continue
        rows = batch if rest is None else rest.joined(batch)
        names = rows.texts(plan.sequence)
        starts = [0, *(row for row in range(1, len(names)) if names[row] != names[row - 1])]
        rest = rows.part(starts[-1], len(names))
        if len(rest.where) > _LONGEST:
            raise DataError(f"{rest.where[0]}: a sample of more than {_LONGEST:,} rows begins here; divide it")
        if len(starts) > 1:
            yield rows.part(0, starts[-1]), starts[:-1]
    if rest is not None:
        yield rest, [0]


def _scanned(source: Path, plan: _Plan) -> _Found:
    """Read what decides splits and classes; ids and sequences have to be of one sample each."""
    found, seen = _Found([], [], [], [], []), set[str]()
    classes = plan.target[0] if plan.task == "multiclass" else ""
    into = [(plan.split, found.splits), (plan.split_by, found.groups), (classes, found.classes)]
    name = plan.ids or plan.sequence
    # Without any of them, a column has to be read to count the rows.
    columns = [column for column in (plan.split, plan.split_by, classes, name) if column] or [plan.target[0]]
    for rows, starts in _samples(source, plan, columns):
        found.where.extend(rows.where[start] for start in starts)
        found.lengths.extend(np.diff([*starts, len(rows.where)]).tolist())
        for column, values in into:
            if column:
                texts = rows.texts(column)
                values.extend(texts[start] for start in starts)
        names = rows.texts(name) if name else []
        for start in starts if name else []:
            text = names[start]
            if text in seen:
                problem = "is there twice; ids name one sample" if plan.ids else "comes back; put its rows together"
                raise DataError(f"{rows.where[start]}: {name} {text!r} {problem}")
            seen.add(text)
        if len(found.where) > _MOST_SAMPLES:
            raise DataError(f"{source} has more than {_MOST_SAMPLES:,} samples; divide it")
    if len(set(found.classes)) > _MOST_CLASSES:
        raise DataError(f"{source}: {plan.target[0]} has more than {_MOST_CLASSES:,} classes; is it one?")
    return found


def _splits(source: Path, plan: _Plan, found: _Found, options: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the split of each sample, and the rule."""
    if plan.split:
        return split_names(found.splits, plan.split, found.where), f"as the column {plan.split} says"
    chosen = {name: options[name] for name in SPLITS}
    if plan.split_by and any(chosen.values()):
        return split_by_values(found.groups, plan.split_by, chosen, source), f"by {plan.split_by}"
    drawn = draw_splits(
        found.groups if plan.split_by else None, found.classes or None, len(found.where), options["seed"]
    )
    by = f", by {plan.split_by}" if plan.split_by else ", for each class separately" if found.classes else ""
    return drawn, f"drawn by neurozoo with the seed {options['seed']}{by}"


def _written(
    source: Path, dest: Path, plan: _Plan, found: _Found, names: Sequence[str], origin: dict[str, Any]
) -> Store:
    classes = sorted(set(found.classes), key=natural)
    place_of = {name: place for place, name in enumerate(classes)}
    ragged, tick = bool(plan.sequence), None if plan.rate is None else 1 / plan.rate
    shapes = {
        name: SignalShape((len(columns),), max(found.lengths), "float32", ragged, tick if ragged else None)
        for name, columns in plan.signals.items()
    }
    outputs, name = classes or plan.target, plan.ids or plan.sequence
    columns = [*plan.target, *([name] if name else []), *(each for chosen in plan.signals.values() for each in chosen)]
    done = 0
    with StoreWriter(dest, signals=shapes, task=plan.task, outputs=outputs, origin=origin) as writer:
        for rows, starts in _samples(source, plan, columns):
            ends = [*starts[1:], len(rows.where)]
            targets = _targets(rows, plan, place_of)
            _check_constant(rows, plan, targets, starts)
            values = {
                signal: np.stack([rows.numbers(column, plan.missing) for column in chosen], 1).astype(np.float32)
                for signal, chosen in plan.signals.items()
            }
            ids = rows.texts(name) if name else [str(done + place) for place in range(len(starts))]
            for split in SPLITS:
                places = [place for place in range(len(starts)) if names[done + place] == split]
                if places:
                    writer.add(
                        split,
                        {signal: [x[starts[i] : ends[i]] for i in places] for signal, x in values.items()},
                        targets[[starts[i] for i in places]],
                        ids=[ids[starts[i] if name else i] for i in places],
                    )
            done += len(starts)
    return Store(dest)


def _targets(rows: Rows, plan: _Plan, place_of: Mapping[str, int]) -> NDArray[Any]:
    """Return the target of each row: ``[rows]`` classes, or ``[rows, K]``."""
    if plan.task == "multiclass":
        return np.array([place_of[text] for text in rows.texts(plan.target[0])], np.int64)
    found = np.stack([rows.numbers(name, "refuse") for name in plan.target], axis=1)
    if plan.task == "multilabel" and (wrong := np.argwhere((found != 0) & (found != 1))).size:
        row, column = wrong[0]
        raise DataError(f"{rows.where[row]}: {plan.target[column]} is {found[row, column]:g}; labels are 0 or 1")
    return found


def _check_constant(rows: Rows, plan: _Plan, targets: NDArray[Any], starts: Sequence[int]) -> None:
    """Refuse a target that changes within a sample."""
    if not plan.sequence:
        return
    changed = np.zeros(len(targets), bool)
    changed[1:] = (targets[1:] != targets[:-1]).reshape(len(targets) - 1, -1).any(axis=1)
    changed[list(starts)] = False
    if changed.any():
        raise DataError(
            f"{rows.where[int(changed.argmax())]}: the target changes within a sample; targets per step come as npz"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... ({len(names)})" if len(names) > 12 else "")
