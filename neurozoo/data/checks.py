"""What is checked of values before they are stored, and the form they are stored in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.manifest import Column, TaskEntry, column_of
from neurozoo.errors import DataError

__all__ = [
    "Piece",
    "check_events",
    "check_targets",
    "mask_of",
    "piece_of",
    "stored",
    "target_column",
    "target_values",
    "valid_rows",
]


def valid_rows(features: NDArray[Any]) -> NDArray[np.bool_]:
    """The mask of ``[n, L, *shape]`` values: rows of zeros at either end are padding, those between are not.

    Returns:
        ``[n, L]``, True where valid; a sample of zeros alone has no valid row.
    """
    filled = (features != 0).any(axis=tuple(range(2, features.ndim)))
    from_left = np.logical_or.accumulate(filled, axis=1)
    from_right = np.logical_or.accumulate(filled[:, ::-1], axis=1)[:, ::-1]
    valid: NDArray[np.bool_] = from_left & from_right
    return valid


@dataclass
class Piece:
    """Some samples of a column.

    Attributes:
        values: ``[n, L, *shape]``, ``[n, *shape]`` of targets, or ``[R, *shape]`` of a ragged column.
        lengths: ``[n]`` int64, of a ragged column; else None.
        mask: ``[n, L]`` or ``[R]``, of a masked column; else None.
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64] | None = None
    mask: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.values if self.lengths is None else self.lengths)

    def rows(self, first: int, last: int) -> slice:
        """Return the rows of samples ``first`` to ``last - 1``."""
        if self.lengths is None:
            return slice(first, last)
        before = int(self.lengths[:first].sum())
        return slice(before, before + int(self.lengths[first:last].sum()))

    def sample(self, row: int) -> int:
        """Return the sample that a row belongs to."""
        return row if self.lengths is None else int(np.searchsorted(self.lengths.cumsum(), row, side="right"))


def piece_of(what: str, column: Column, given: ArrayLike | Sequence[ArrayLike]) -> Piece:
    """Check that values are numbers of the column's shape; their dtype does not change.

    They are ``[n, L, *shape]``; of a ragged column also a list of n arrays ``[L_i, *shape]``. ``what`` names them in
    errors.

    Raises:
        DataError: They are no numbers, or of another shape.
    """
    axes = ", ".join(map(str, column.shape))
    if not column.ragged:
        array = np.asarray(given)
        wanted = (column.length, *column.shape)
        if array.dtype.kind not in "fiub" or array.shape[1:] != wanted:
            raise DataError(
                f"{what}: {array.dtype} of shape {list(array.shape)}; give numbers "
                f"[samples, {', '.join(map(str, wanted))}]"
            )
        return Piece(array)
    samples = [np.asarray(each) for each in given]  # type: ignore[union-attr]
    for number, each in enumerate(samples):
        if each.dtype.kind not in "fiub" or each.ndim == 0 or each.shape[1:] != column.shape:
            raise DataError(
                f"{what}, sample {number} of those given: {each.dtype} of shape {list(each.shape)}; give numbers "
                f"[positions{', ' if axes else ''}{axes}], as many positions as the sample has"
            )
        if len(each) > column.length:
            raise DataError(
                f"{what}, sample {number} of those given: {len(each)} positions, and at most {column.length} are "
                "declared; cut the sample, or declare a larger length"
            )
    lengths = np.array([len(each) for each in samples], np.int64)
    return Piece(np.concatenate(samples) if samples else np.zeros((0, *column.shape)), lengths)


def stored(what: Callable[[int], str], column: Column, piece: Piece) -> tuple[NDArray[Any], int]:
    """Return the values as a shard holds them, and how many were not finite and became 0.

    They are copied only if something has to change. ``what`` names the values of a row in errors.

    Raises:
        DataError: A value does not fit the dtype.
    """
    x, dtype = piece.values, np.dtype(column.dtype)
    if column.dtype == "bool":
        _refuse(what, x, (x != 0) & (x != 1), "spikes and other bits are 0 or 1")
        bits = x.astype(bool, copy=False).reshape(*x.shape[: x.ndim - len(column.shape)], column.dim)
        return np.packbits(bits, axis=-1), 0
    if dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            cast = x.astype(dtype, copy=False)
        bad = ~np.isfinite(cast)
        count = int(bad.sum())
        return (np.where(bad, dtype.type(0), cast) if count else cast), count
    limits = np.iinfo(dtype)
    if x.dtype.kind == "f":
        _refuse(what, x, x != np.floor(x), f"{dtype} holds whole numbers; round them, or declare a float dtype")
    wrong = (x < limits.min) | (x > limits.max)
    _refuse(what, x, wrong, f"{dtype} holds {limits.min} to {limits.max}; declare a larger dtype")
    return x.astype(dtype, copy=False), 0


def check_events(what: Callable[[int], str], column: Column, piece: Piece) -> None:
    """Check events ``[R, 2]``: times from 0 that do not fall within a sample, addresses of the sensor.

    ``what`` names the sample of a row in errors.

    Raises:
        DataError: Names the first wrong event's sample and value.
    """
    if piece.lengths is None or column.sensor is None or not len(piece.values):
        return
    times, addresses = piece.values[:, 0], piece.values[:, 1]
    most = column.seen.addresses - 1
    _refuse(
        what, addresses, (addresses < 0) | (addresses > most), f"addresses of {list(column.sensor)} are 0 to {most}"
    )
    limit = np.iinfo(np.int32).max if column.span is None else column.span - 1
    _refuse(what, times, (times < 0) | (times > limit), f"times of events are 0 to {limit} ticks")
    falls = np.zeros(len(times), bool)
    falls[1:] = times[1:] < times[:-1]
    starts = piece.lengths.cumsum()[:-1]
    falls[starts[starts < len(falls)]] = False
    if falls.any():
        row = int(np.argmax(falls))
        raise DataError(
            f"{what(row)}: the time falls from {times[row - 1]} to {times[row]} ticks; sort the events of a sample by "
            "their times"
        )


def mask_of(what: str, piece: Piece, given: ArrayLike | Sequence[ArrayLike]) -> NDArray[np.uint8]:
    """Check a mask: 0 or 1 for each position of the piece.

    Raises:
        DataError: It has another shape or other values.
    """
    if piece.lengths is not None:
        parts = [np.asarray(each) for each in given]  # type: ignore[union-attr]
        found = [len(each) if each.ndim == 1 else -1 for each in parts]
        if found != piece.lengths.tolist():
            raise DataError(f"{what}: its samples have other lengths; give each a mask [positions]")
        mask = np.concatenate(parts) if parts else np.zeros(0, np.uint8)
        wanted = mask.shape
    else:
        mask, wanted = np.asarray(given), piece.values.shape[:2]
    if mask.shape != wanted or mask.dtype.kind not in "fiub" or not np.isin(mask, (0, 1)).all():
        raise DataError(f"{what} is {mask.dtype} of shape {list(mask.shape)}; give 0 or 1 of shape {list(wanted)}")
    return mask.astype(np.uint8)


def target_column(task: TaskEntry, given: SignalShape | None, where: str) -> Column:
    """How the targets of a task are stored, one per sample.

    Shape and dtype are as ``given``, or those of one of the zoo's own tasks; ``where`` names the store in errors.

    Raises:
        DataError: Nothing is given for another task, or a dtype that no store holds.
    """
    k = (len(task.outputs),)
    known = {"multilabel": (k, "uint8"), "multiclass": ((), "int64"), "regression": (k, "float32")}
    if given is None and task.name not in known:
        raise DataError(
            f"{where}: the targets of the task {task.name!r} are of no known shape; give target=SignalShape(shape, 1, "
            f"dtype), or one of the tasks {', '.join(known)}"
        )
    shape, dtype = known[task.name] if given is None else (given.shape, given.dtype)
    return column_of(SignalShape(shape, 1, dtype), f"the target of {where}")


def check_targets(
    where: Callable[[int], str], task: TaskEntry, x: NDArray[Any], counts: NDArray[np.bool_] | None = None
) -> None:
    """Check the values of targets by their task: labels are 0 or 1, classes 0 to K - 1, numbers finite.

    Args:
        where: Names the sample of a row.
        task: The task; of a plugin's only floats are checked here.
        x: ``[rows, *shape]``.
        counts: The same shape, True where a value counts; None for all.

    Raises:
        DataError: Names the first wrong value, its sample and the rule.
    """
    outputs = task.outputs
    if task.name == "multilabel":
        wrong = (x != 0) & (x != 1)
    elif task.name == "multiclass":
        wrong = (x < 0) | (x >= len(outputs)) | (x != np.floor(x))
    elif x.dtype.kind == "f":
        wrong = ~np.isfinite(x)
    else:
        return
    if counts is not None:
        wrong &= counts
    if not wrong.any():
        return
    place = tuple(np.argwhere(wrong)[0])
    if task.name == "multilabel":
        raise DataError(
            f"{where(int(place[0]))}, label {outputs[place[-1]]!r} is {x[place]:g}; "
            f"labels are 0 or 1, and {wrong.sum()} of these samples' labels are neither"
        )
    if task.name == "multiclass":
        k, names = len(outputs), ", ".join(outputs[:4])
        rule = f"a class is its place among {names}{', ...' if k > 4 else ''}: 0 to {k - 1}"
    else:
        rule = "a target is a finite number; leave the sample out"
    raise DataError(f"{where(int(place[0]))} has the value {x[place]:g}; {rule}")


def target_values(where: Callable[[int], str], task: TaskEntry, column: Column, piece: Piece) -> NDArray[Any]:
    """Check targets by their task and return them as a shard holds them. They are never repaired.

    Rows that the piece's mask leaves out do not count; ``where`` names split and sample of a row.

    Raises:
        DataError: Says which value of which sample is wrong, and what is right.
    """
    x = piece.values
    if x.dtype.kind == "b" and task.name in ("multiclass", "regression"):
        raise DataError(f"{where(0)} and after: targets are true or false; give numbers for the task {task.name}")
    counts = np.ones(x.shape, bool)
    if piece.mask is not None:
        counts[piece.mask == 0] = False
    check_targets(where, task, x, counts)
    if not counts.all():
        x = np.where(counts, x, 0)
    values, lost = stored(where, column, Piece(x, piece.lengths))
    if lost:
        raise DataError(f"{where(0)} and after: {lost} targets are too large for {column.dtype}; scale them")
    return values


def _refuse(what: Callable[[int], str], x: NDArray[Any], wrong: NDArray[np.bool_], rule: str) -> None:
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise DataError(f"{what(int(place[0]))} has the value {x[place]:g}; {rule}")
