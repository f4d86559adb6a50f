"""Events in arrays: npy, npz and MATLAB files, and arrays in memory.

Arrays are structured, with the fields ``t``, ``x``, ``y``, ``p`` (or ``ts``, ``pol`` and the like); or ``[n, 4]`` with
columns in a stated order; or one array a field.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import list_arrays
from neurozoo.data.importers.events.blocks import Events
from neurozoo.data.importers.events.files import EventFile
from neurozoo.data.untrusted.mat import parse_mat
from neurozoo.data.untrusted.npz import read_npy, read_npz
from neurozoo.errors import DataError

__all__ = ["FIELDS", "TICK", "events_of", "read_mat_events", "read_npy_events", "read_npz_events", "ticks", "whole"]

TICK = 1e-6
"""Seconds of a tick of the stores: a microsecond."""
FIELDS = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "unit", "units", "channel"),
    "y": ("y", "ys"),
    "p": ("p", "pol", "polarity", "ps"),
}
"""Names that a field goes by, in any case."""


def events_of(
    content: NDArray[Any] | Mapping[str, NDArray[Any]], where: str, *, columns: str = "txyp", unit: float = TICK
) -> Events:
    """Return the events in an array or in one array a field.

    Args:
        content: A structured array ``[n]``, numbers ``[n, fields]``, or arrays ``[n]`` by name, ``y`` and ``p`` of all
            being optional.
        where: Names the source in errors.
        columns: The order of the columns of a plain array, a letter each.
        unit: Seconds of one unit of its times. Floats are rounded to microseconds.

    Raises:
        DataError: A field is missing, has another length, or holds no whole numbers; or a polarity is none of 0, 1, -1.
    """
    fields = _fields(content, where, columns)
    lengths = {name: len(values) for name, values in fields.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise DataError(f"{where}: its fields differ in length: {listed}; an event has one of each")
    p = fields.get("p")
    if p is not None:
        p = whole(p, f"{where}: p")
        wrong = (p < -1) | (p > 1)
        if wrong.any() or ((p == -1).any() and (p == 0).any()):
            at = int(wrong.argmax())
            raise DataError(f"{where}: p of event {at} is {p[at]}; polarities are 0 and 1, or -1 and 1")
        p = (p > 0).astype(np.int64)
    y = fields.get("y")
    return Events(
        ticks(fields["t"], unit, where),
        whole(fields["x"], f"{where}: x"),
        None if y is None else whole(y, f"{where}: y"),
        p,
    )


def ticks(t: NDArray[Any], unit: float, where: str) -> NDArray[np.int64]:
    """Return times ``[n]`` in units of ``unit`` seconds as whole microseconds.

    Raises:
        DataError: A time is not finite, or too large.
    """
    factor = unit / TICK
    if abs(factor - round(factor)) < 1e-9 * factor:
        factor = round(factor)  # 1e-3 / 1e-6 need not be whole as floats are divided
    if t.dtype.kind in "iub" and isinstance(factor, int):
        if len(t) and (t.max() > 2**62 / factor or t.min() < -(2**62) / factor):
            raise DataError(f"{where}: a time of {t.max()} is too large; is it of another unit?")
        return t.astype(np.int64) * factor
    # Narrow floats overflow when they are scaled, and hold no microseconds.
    scaled = t.astype(np.float64) * factor
    wrong = ~(np.abs(scaled) < 2**62)
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(f"{where}: the time of event {at} is {t[at]}; give finite times, in units of {unit:g} s")
    return np.rint(scaled).astype(np.int64)


def whole(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    """Return numbers ``[n]`` as int64.

    Raises:
        DataError: One is not whole.
    """
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        wrong = ~(np.abs(values) < 2**31) | (values != np.floor(values))
        if wrong.any():
            at = int(wrong.argmax())
            raise DataError(f"{where} of event {at} is {values[at]}; only whole numbers can be imported")
    elif values.dtype.kind not in "iub":
        raise DataError(f"{where} is {values.dtype}; only whole numbers can be imported")
    return values.astype(np.int64)


def _fields(content: NDArray[Any] | Mapping[str, NDArray[Any]], where: str, columns: str) -> dict[str, NDArray[Any]]:
    arrays: Mapping[str, NDArray[Any]]
    if isinstance(content, np.ndarray) and content.dtype.names is None:
        if content.ndim != 2 or content.shape[1] != len(columns) or content.dtype.kind not in "iufb":
            raise DataError(
                f"{where}: {content.dtype} of shape {list(content.shape)}; give [events, {len(columns)}] with the "
                f"columns {', '.join(columns)}, or a structured array"
            )
        arrays = dict(zip(columns, content.T, strict=True))
    elif isinstance(content, np.ndarray):
        arrays = {name: content[name] for name in content.dtype.names or ()}
    else:
        arrays = content
    lowered = {name.lower(): values for name, values in arrays.items()}
    found = {field: next((lowered[name] for name in names if name in lowered), None) for field, names in FIELDS.items()}
    fields = {field: np.squeeze(values) for field, values in found.items() if values is not None}
    if missing := [field for field in ("t", "x") if field not in fields]:
        raise DataError(f"{where}: it has no {missing[0]}; there are: {list_arrays(arrays)}")
    for field, values in fields.items():
        if values.ndim == 0:
            fields[field] = values[None]
        if values.ndim > 1 or values.dtype.kind not in "iufb":
            raise DataError(f"{where}: {field} is {values.dtype} of shape {list(values.shape)}; give numbers [events]")
    return fields


def read_npy_events(columns: str, unit: float) -> Callable[[BinaryIO, EventFile], Iterator[Events]]:
    """Return a reader of npy files; the arguments are those of :func:`events_of`."""

    def read(file: BinaryIO, of: EventFile) -> Iterator[Events]:
        yield events_of(read_npy(file, of.size, of.where), of.where, columns=columns, unit=unit)

    return read


def read_npz_events(columns: str, unit: float) -> Callable[[BinaryIO, EventFile], Iterator[Events]]:
    """Return a reader of npz files, which are archives themselves and therefore lie in folders."""

    def read(_: BinaryIO, of: EventFile) -> Iterator[Events]:
        if not zipfile.is_zipfile(of.where):
            raise DataError(f"{of.where}: an npz file is read from a folder alone; unpack the archive that it is in")
        arrays = read_npz(Path(of.where))
        content = next(iter(arrays.values())) if len(arrays) == 1 else arrays
        yield events_of(content, of.where, columns=columns, unit=unit)

    return read


def read_mat_events(height: int | None, unit: float) -> Callable[[BinaryIO, EventFile], Iterator[Events]]:
    """Return a reader of MATLAB files with ``ts``, ``x``, ``y``, ``pol`` ``[n, 1]``.

    Args:
        height: The rows of the sensor if y counts from below, as in ASL-DVS; else None.
        unit: Seconds of one unit of time.
    """

    def read(file: BinaryIO, of: EventFile) -> Iterator[Events]:
        names = {name for names in FIELDS.values() for name in names}
        events = events_of(parse_mat(file.read(), of.where, names), of.where, unit=unit)
        y = events.y if height is None or events.y is None else height - 1 - events.y
        yield Events(events.t, events.x, y, events.p)

    return read
