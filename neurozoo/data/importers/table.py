"""Importer of a user's own data: CSV or Parquet with a row a sample or a position, arrays, a file a sample.

What the options leave open is guessed where there is one answer, and asked for where there is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, UNKNOWN, origin_of
from neurozoo.data.importers.splitting import Seed, check_division, divided, natural
from neurozoo.data.importers.table_arrays import import_arrays
from neurozoo.data.importers.table_plan import Plan, Task, plan_table
from neurozoo.data.importers.table_rows import Rows, batches_of
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_table"]

_MOST_SAMPLES = 20_000_000
_MOST_CLASSES = 10_000
_LONGEST = 100_000
"""Rows of one sample."""


def import_table(
    source: Path,
    dest: Path,
    *,
    target: Sequence[str] = (),
    task: Task | None = None,
    inputs: Sequence[str] = (),
    ids: str = "",
    split: str = "",
    groups: str = "",
    split_by: str = "",
    train: Sequence[str] = (),
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: Seed = 0,
    sequence: str = "",
    rate: Annotated[float, Field(gt=0, le=1e9)] | None = None,
    missing: Literal["refuse", "zero"] = "refuse",
    lengths: str = "",
    mask: str = "",
    axes: Sequence[str] = (),
) -> Store:
    """Make a store of your own data.

    CSV and Parquet: a row is a sample, or with ``sequence`` a position of one. They are read twice, in pieces, so that
    they need not fit into memory.

    npz, and a folder of npy: an array is a column, its first axis the samples. Inputs are ``[N, F]``, or with positions
    ``[N, L, ...]``; pictures with 1 or 3 channels have one position. Targets are ``[N]``, ``[N, K]`` (labels, numbers,
    or one-hot classes), or along an input ``[N, L]`` and ``[N, L, K]``, a target per step. ``NAME_length`` or
    ``lengths`` ``[N]``, or ``NAME_mask`` or ``mask`` ``[N, L]``, say which positions are valid. Arrays by split, such
    as ``x_train`` and ``x_test``, or files ``train.npz`` and ``test.npz``, are read as one.

    A folder of samples: an npz or npy file each, whose first axis may differ in length; folders may be their classes
    and, above these, their splits. They are read twice, and need not fit into memory.

    Args:
        source: A ``.csv``, ``.parquet`` or ``.npz`` file, or a folder of npz or npy files.
        dest: The store's folder; new or empty.
        target: The column of the class or number, or the columns of the labels or numbers. By default the one called
            label, target, class or y, or the only array with a value a sample.
        task: ``multiclass``, ``multilabel`` or ``regression``. By default several columns of 0 and 1 are labels, texts
            and up to 50 different whole numbers classes, and numbers that are not whole a regression; anything else
            needs this option.
        inputs: The columns that a model sees, as names or patterns such as ``acc_*``; ``NAME=PATTERN`` puts them into
            a signal of that name. By default every other column, which all have to be numbers, as ``features``.
        ids: The column that names samples; by default the one called id.
        split: The column that holds train, valid or test; by default the one called split. If it has no valid or no
            test, they are drawn from train.
        groups: The column of groups, such as people, that no two splits share; by default one called group, subject,
            speaker, patient or participant.
        split_by: The same, in the place of a split column.
        train: The groups of train, by name or as ranges of whole numbers ``1..9``; by default the rest.
        valid: The groups of valid.
        test: The groups of test. Without any of these groups are drawn; without groups, samples.
        seed: Seed of a draw: 15 % for valid and 15 % for test.
        sequence: The column that is the same in the rows of a sample; they follow one another, one a position.
        rate: Positions a second of ``sequence``, or of arrays; by default unknown.
        missing: Whether empty cells of inputs are refused, or become 0.
        lengths: The array of each sample's number of positions; by default one with a usual name.
        mask: The array of valid positions; by default one with a usual name.
        axes: ``NAME=LETTERS``: what an array's axes are, in order, such as ``x=NCT`` or ``x=NHWC``: N samples, T
            positions, C H W channels, rows and columns, F features. They are put into the order NTCHWF; without T
            there is one position. By default ``NT...``.

    Raises:
        DataError: A row or column is malformed, named by line and name; or something cannot be guessed.
    """
    chosen = {"train": train, "valid": valid, "test": test}
    options = {
        "target": target,
        "task": task,
        "inputs": inputs,
        "ids": ids,
        "split": split,
        "split_by": split_by,
        **chosen,
        "seed": seed,
        "sequence": sequence,
        "rate": rate,
        "missing": missing,
    }
    check_division(split_by or groups, chosen)
    if split and (split_by or any(chosen.values())):
        raise DataError("--split and --split-by both say where samples belong; give one of them")
    if groups and split_by:
        raise DataError("--groups and --split-by both name the groups; give one of them")
    # Only options that are given: data that was imported before there were these keeps its checksum.
    more = {"groups": groups, "lengths": lengths, "mask": mask, "axes": axes}
    origin = origin_of(
        "table", source.name, UNKNOWN, **options, **{name: value for name, value in more.items() if value}
    )
    options |= more
    if source.is_dir() or source.suffix.lower() == ".npz":
        return import_arrays(source, dest, options, origin)
    for name in ("lengths", "mask", "axes"):
        if more[name]:
            raise DataError(f"--{name} is for arrays; rows of one sample are found by --sequence COLUMN")
    plan = plan_table(source, options)
    found = _scanned(source, plan)
    names, rule = divided(
        source,
        len(found.where),
        given=found.splits if plan.split else None,
        what=f"the column {plan.split}",
        where=found.where,
        by=plan.groups,
        groups=found.groups if plan.groups else None,
        chosen=chosen,
        classes=found.classes or None,
        seed=seed,
        complete=True,
    )
    return _written(source, dest, plan, found, names, origin | {"splits": rule})


@dataclass(frozen=True)
class _Found:
    """What a first reading of a table found, a value a sample."""

    where: list[str]
    lengths: list[int]
    splits: list[str]
    groups: list[str]
    classes: list[str]


def _samples(source: Path, plan: Plan, columns: Sequence[str]) -> Iterator[tuple[Rows, list[int]]]:
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


def _scanned(source: Path, plan: Plan) -> _Found:
    """Read what decides splits and classes; ids and sequences have to be of one sample each."""
    found, seen = _Found([], [], [], [], []), set[str]()
    classes = plan.target[0] if plan.task == "multiclass" else ""
    into = [(plan.split, found.splits), (plan.groups, found.groups), (classes, found.classes)]
    name = plan.ids or plan.sequence
    # Without any of them, a column has to be read to count the rows.
    columns = [column for column in (plan.split, plan.groups, classes, name) if column] or [plan.target[0]]
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


def _written(
    source: Path, dest: Path, plan: Plan, found: _Found, names: Sequence[str], origin: dict[str, Any]
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


def _targets(rows: Rows, plan: Plan, place_of: Mapping[str, int]) -> NDArray[Any]:
    """Return the target of each row: ``[rows]`` classes, or ``[rows, K]``."""
    if plan.task == "multiclass":
        return np.array([place_of[text] for text in rows.texts(plan.target[0])], np.int64)
    found = np.stack([rows.numbers(name, "refuse") for name in plan.target], axis=1)
    if plan.task == "multilabel" and (wrong := np.argwhere((found != 0) & (found != 1))).size:
        row, column = wrong[0]
        raise DataError(f"{rows.where[row]}: {plan.target[column]} is {found[row, column]:g}; labels are 0 or 1")
    return found


def _check_constant(rows: Rows, plan: Plan, targets: NDArray[Any], starts: Sequence[int]) -> None:
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
