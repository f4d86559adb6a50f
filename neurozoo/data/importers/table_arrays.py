"""Importer of a user's own arrays: an npz whose arrays have the samples as their first axis."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import CHUNK, SPLITS, list_arrays
from neurozoo.data.importers.splitting import divided, natural
from neurozoo.data.manifest import DTYPES
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.errors import DataError, suggestion
from neurozoo.files.text import as_texts

__all__ = ["MOST_GUESSED", "import_arrays"]

_LENGTH = "_length"
_TARGETS = ("label", "labels", "target", "targets", "y")
_IDS = ("id", "ids")
_SPLITS = ("split", "splits")
MOST_GUESSED = 50
"""Different whole numbers of a target up to which it is guessed to be a class."""
Arrays = Mapping[str, NDArray[Any]]


def import_arrays(source: Path, dest: Path, options: Mapping[str, Any], origin: dict[str, Any]) -> Store:
    """Make a store of the arrays of an npz; the options are those of ``import_table``.

    Raises:
        DataError: An array has another number of samples, is of no usable dtype, or something cannot be guessed.
    """
    arrays = read_npz(source)
    if options["sequence"]:
        raise DataError("--sequence is for rows of CSV and Parquet; the positions of an npz are its second axis")
    target = _named(source, arrays, options["target"], "target", _TARGETS)
    if not target:
        raise DataError(f"{source}: which array is the target? there are: {list_arrays(arrays)}; give --target NAME")
    n = len(arrays[target]) if arrays[target].ndim else 0
    ids = _named(source, arrays, [options["ids"]], "ids", _IDS)
    split_by = _named(source, arrays, [options["split_by"]], "split-by", ())
    split = "" if split_by else _named(source, arrays, [options["split"]], "split", _SPLITS)
    taken = {target, ids, split, split_by}
    inputs = _inputs(source, arrays, options["inputs"], taken, n)
    for name in [*taken - {""}, *inputs.values()]:
        if arrays[name].ndim == 0 or len(arrays[name]) != n or not n:
            raise DataError(
                f"{source}: {name} is of shape {list(arrays[name].shape)} and the target {target} of "
                f"{list(arrays[target].shape)}; the first axis of each is the samples"
            )
    lengths = {signal: _lengths(source, arrays, name, n) for signal, name in inputs.items()}
    tick = None if options["rate"] is None else 1 / options["rate"]
    long = [signal for signal, name in inputs.items() if _has_positions(arrays[name], lengths[signal], tick)]
    y, task, outputs, along = _target(source, arrays, target, options["task"], {name: inputs[name] for name in long})
    shapes = {signal: _shape(source, arrays[name], name, lengths[signal], tick) for signal, name in inputs.items()}
    names, rule = divided(
        source,
        n,
        given=as_texts(arrays[split], f"{source}: {split}") if split else None,
        what=f"the array {split}",
        where=[f"{source}, sample {row}" for row in range(n)] if split else (),
        by=split_by,
        groups=as_texts(arrays[split_by], f"{source}: {split_by}") if split_by else None,
        chosen={name: options[name] for name in SPLITS},
        classes=y.tolist() if task == "multiclass" and not along else None,
        seed=options["seed"],
    )
    labels = as_texts(arrays[ids], f"{source}: {ids}") if ids else [str(row) for row in range(n)]
    origin |= {"splits": rule}
    where = np.array(names)
    with StoreWriter(dest, signals=shapes, task=task, outputs=outputs, origin=origin, along=along) as writer:
        for name in SPLITS:
            rows = np.flatnonzero(where == name)
            for first in range(0, len(rows), CHUNK):
                chunk = rows[first : first + CHUNK]
                along_lengths = lengths[along] if along else None
                writer.add(
                    name,
                    {signal: _values(arrays[of], lengths[signal], tick, chunk) for signal, of in inputs.items()},
                    y[chunk] if along_lengths is None else [y[row, : along_lengths[row]] for row in chunk],
                    ids=[labels[row] for row in chunk],
                )
    return Store(dest)


def _named(source: Path, arrays: Arrays, given: Sequence[str], option: str, usual: Sequence[str]) -> str:
    """Return the array that is given, or the one array with a usual name; an empty text if there is none."""
    names = [name for name in given if name]
    if len(names) > 1:
        raise DataError(f"--{option} of an npz is one array, [N, K] for K labels or numbers; found {', '.join(names)}")
    if names and names[0] not in arrays:
        raise DataError(
            f"{source} has no array {names[0]!r} of --{option}; there are: {list_arrays(arrays)}"
            + suggestion(names[0], arrays)
        )
    found = names or [name for name in arrays if name.lower() in usual]
    if len(found) > 1:
        raise DataError(f"{source}: {', '.join(found)} may each be --{option}; give one")
    return found[0] if found else ""


def _inputs(source: Path, arrays: Arrays, given: Sequence[str], taken: set[str], n: int) -> dict[str, str]:
    """Return the array of each signal."""
    free = [name for name in arrays if name not in taken and not _is_length(name, arrays)]
    if not given:
        usable = [name for name in free if arrays[name].ndim > 1 and arrays[name].dtype.kind in "fiub"]
        if not usable:
            raise DataError(f"{source}: which arrays are inputs? there are: {list_arrays(arrays)}; give --inputs NAME")
        return {_as_signal(name): name for name in usable if len(arrays[name]) == n} or {usable[0]: usable[0]}
    chosen: dict[str, str] = {}
    for text in given:
        signal, _, pattern = text.rpartition("=")
        found = [pattern] if pattern in arrays else [name for name in free if fnmatch.fnmatchcase(name, pattern)]
        if not found or (signal and len(found) > 1):
            problem = "has no array" if not found else "has several arrays"
            raise DataError(
                f"{source} {problem} {pattern!r} of --inputs; there are: {list_arrays(arrays)}"
                + suggestion(pattern, arrays)
            )
        chosen |= {signal or _as_signal(name): name for name in found}
    return chosen


def _as_signal(name: str) -> str:
    return "features" if name.lower() == "x" else name


def _is_length(name: str, arrays: Arrays) -> bool:
    return name.endswith(_LENGTH) and name.removesuffix(_LENGTH) in arrays


def _lengths(source: Path, arrays: Arrays, name: str, n: int) -> NDArray[np.int64] | None:
    """Return the positions that each sample has; None if all have all."""
    found = arrays.get(name + _LENGTH)
    if found is None:
        return None
    most = arrays[name].shape[1] if arrays[name].ndim > 1 else 0
    if found.shape != (n,) or found.dtype.kind not in "iu" or (found < 1).any() or (found > most).any():
        raise DataError(
            f"{source}: {name}{_LENGTH} is {found.dtype} of shape {list(found.shape)}; give {n} whole numbers of 1 to "
            f"{most}, the positions of each sample of {name} {list(arrays[name].shape)}"
        )
    return found.astype(np.int64)


def _has_positions(x: NDArray[Any], lengths: NDArray[np.int64] | None, tick: float | None) -> bool:
    """Return whether the second axis is positions; of ``[N, D]`` it is if lengths or a rate say so."""
    return x.ndim > 2 or lengths is not None or tick is not None


def _shape(
    source: Path, x: NDArray[Any], name: str, lengths: NDArray[np.int64] | None, tick: float | None
) -> SignalShape:
    """Return how an input is stored: ``[N, L, ...]``, or ``[N, D]`` as one position."""
    dtype = {"uint16": "int32", "uint32": "int64"}.get(x.dtype.name, x.dtype.name)
    if x.ndim < 2 or 0 in x.shape or dtype not in DTYPES:
        raise DataError(
            f"{source}: {name} is {x.dtype} of shape {list(x.shape)}; inputs are numbers [N, D] or [N, L, ...]"
        )
    if not _has_positions(x, lengths, tick):
        return SignalShape(x.shape[1:], 1, dtype, False)
    return SignalShape(x.shape[2:], x.shape[1], dtype, lengths is not None, tick)


def _values(x: NDArray[Any], lengths: NDArray[np.int64] | None, tick: float | None, rows: NDArray[np.intp]) -> Any:
    if lengths is not None:
        return [x[row, : lengths[row]] for row in rows]
    return x[rows] if _has_positions(x, lengths, tick) else x[rows, None]


def _target(
    source: Path, arrays: Arrays, name: str, task: str | None, inputs: Mapping[str, str]
) -> tuple[NDArray[Any], str, Sequence[str], str | None]:
    """Return targets, task, outputs, and the signal that they belong to step by step, if they do."""
    y = arrays[name]
    along = _along(y, arrays, inputs, task)
    each = y.shape[2:] if along else y.shape[1:]
    where = f"{source}: {name} is {y.dtype} of shape {list(y.shape)}"
    if len(each) > 1:
        raise DataError(f"{where}; targets are [N], [N, K], or along an input [N, L] or [N, L, K]")
    bits = y.dtype.kind in "iub" and bool(((y == 0) | (y == 1)).all())
    if task is None:
        if len(each) == 1 and bits:
            task = "multilabel"
        elif not each and (y.dtype.kind in "US" or (y.dtype.kind in "iu" and len(np.unique(y)) <= MOST_GUESSED)):
            task = "multiclass"
        else:
            raise DataError(f"{where}; say what they are by --task regression, multiclass or multilabel")
    if task == "multiclass":
        if each or y.dtype.kind not in "iuUS":
            raise DataError(f"{where}; classes are whole numbers or texts, [N], or [N, L] along an input")
        known, places = np.unique(y, return_inverse=True)
        texts = as_texts(known, f"{source}: {name}")
        order = sorted(range(len(texts)), key=lambda place: natural(texts[place]))
        rank = np.argsort(order)
        return rank[places].reshape(y.shape), task, [texts[place] for place in order], along
    if y.dtype.kind not in "fiub":
        raise DataError(f"{where}; {task} has numbers")
    if task == "multilabel" and not each:
        raise DataError(f"{where}; labels are [N, K], or along an input [N, L, K]")
    if not each:
        y = y[..., None]
    k = y.shape[-1]
    outputs = [name] if k == 1 else [f"{name}{place}" for place in range(k)]
    return y.astype(np.uint8 if y.dtype.kind == "b" else y.dtype), task, outputs, along


def _along(y: NDArray[Any], arrays: Arrays, inputs: Mapping[str, str], task: str | None) -> str | None:
    """Return the first input with as many positions as the targets have; [N, K] of labels is one of the sample."""
    if y.ndim < 2 or (y.ndim == 2 and task in ("multilabel", "regression")):
        return None
    fits = [signal for signal, of in inputs.items() if arrays[of].shape[1] == y.shape[1]]
    whole_numbers = y.ndim == 3 or y.dtype.kind in "US" or (y.dtype.kind in "iu" and task == "multiclass")
    return fits[0] if fits and (whole_numbers or y.max(initial=0) > 1) else None
