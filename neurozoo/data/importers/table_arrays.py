"""Importer of a user's own arrays, each with the samples as its first axis."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.array_sources import SPLIT_ARRAY, TARGET_ARRAYS, Array, read_arrays, whole
from neurozoo.data.importers.common import CHUNK, SPLITS, list_arrays
from neurozoo.data.importers.detected import UnclearError
from neurozoo.data.importers.splitting import divided, usual_groups
from neurozoo.data.importers.table_targets import targets_of
from neurozoo.data.manifest import DTYPES
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError, suggestion
from neurozoo.files.text import as_texts

__all__ = ["ArrayPlan", "import_arrays", "plan_arrays"]

_LENGTHS = ("length", "lengths", "len", "lens", "seq_len", "seq_lens", "seq_length", "seq_lengths")
_MASKS = ("mask", "masks", "padding_mask", "valid_mask")
_IDS = ("id", "ids")
_SPLITS = (SPLIT_ARRAY, "splits")
Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class ArrayPlan:
    """What each array of a source is.

    Attributes:
        inputs: The array of each signal.
        lengths: By signal, the positions that each sample has, ``[N]``; None if all have all.
        masks: By signal with gaps, which positions are valid, ``[N, L]`` bool.
        tick: Seconds from one position to the next; None if unknown.
        shapes: How each signal is stored.
        target: The array of targets.
        y: Targets as they are stored, ``[N]``, ``[N, K]``, ``[N, L]`` or ``[N, L, K]``.
        task: Its name.
        outputs: Its labels, classes or quantities.
        along: The signal whose positions have a target each; None if samples have.
        ids: The array of names; empty if there is none.
        split: The array of splits; empty if there is none.
        groups: The array of groups; empty if there is none.
    """

    inputs: dict[str, str]
    lengths: dict[str, NDArray[np.int64] | None]
    masks: dict[str, NDArray[np.bool_]]
    tick: float | None
    shapes: dict[str, SignalShape]
    target: str
    y: NDArray[Any]
    task: str
    outputs: Sequence[str]
    along: str | None
    ids: str
    split: str
    groups: str


def plan_arrays(source: Path, arrays: Arrays, options: Mapping[str, Any]) -> ArrayPlan:
    """Decide what each array is; the options are those of ``import_table``.

    Raises:
        UnclearError: Something cannot be guessed.
        DataError: An array has another number of samples, or is of no usable dtype.
    """
    if options["sequence"]:
        raise DataError("--sequence is for rows of CSV and Parquet; the positions of arrays are their second axis")
    ids = _named(source, arrays, [options["ids"]], "ids", _IDS)
    groups = _named(source, arrays, [options["split_by"] or options["groups"]], "groups", ())
    by_groups = options["split_by"] or any(options[name] for name in SPLITS)
    split = "" if by_groups else _named(source, arrays, [options["split"]], "split", _SPLITS)
    if not groups:
        likely = {name: whole(x).tolist() for name, x in arrays.items() if x.ndim == 1 and x.dtype.kind in "iuUS"}
        groups = usual_groups({name: values for name, values in likely.items() if name not in options["target"]})
    target = _named(source, arrays, options["target"], "target", TARGET_ARRAYS)
    helpers = {name for name in arrays if _helps(name, arrays, options)}
    target = target or _onlytargets_of(source, arrays, {ids, split, groups, *helpers})
    n = len(arrays[target]) if arrays[target].ndim else 0
    inputs = _inputs(source, arrays, options["inputs"], {target, ids, split, groups, *helpers}, n)
    for name in [*{target, ids, split, groups} - {""}, *inputs.values()]:
        if arrays[name].ndim == 0 or len(arrays[name]) != n or not n:
            raise DataError(
                f"{source}: {name} is of shape {list(arrays[name].shape)} and the target {target} of "
                f"{list(arrays[target].shape)}; the first axis of each is the samples"
            )
    lengths, masks = _valid_positions(source, arrays, inputs, options, n)
    tick = None if options["rate"] is None else 1 / options["rate"]
    long = [signal for signal, name in inputs.items() if _has_positions(arrays[name], lengths[signal], tick)]
    valid = {signal: _valid(arrays[name], lengths[signal], masks.get(signal)) for signal, name in inputs.items()}
    positions = {signal: inputs[signal] for signal in long}
    y, task, outputs, along = targets_of(source, arrays, target, options["task"], positions, valid)
    shapes = {signal: _shape(source, arrays[name], name, lengths[signal], tick) for signal, name in inputs.items()}
    return ArrayPlan(inputs, lengths, masks, tick, shapes, target, y, task, outputs, along, ids, split, groups)


def import_arrays(source: Path, dest: Path, options: Mapping[str, Any], origin: dict[str, Any]) -> Store:
    """Make a store of arrays; the options are those of ``import_table``.

    Raises:
        DataError: As :func:`plan_arrays`, or a sample cannot be read.
    """
    named = [*options["target"], *(text.rpartition("=")[2] for text in options["inputs"])]
    arrays = read_arrays(source, named, options["axes"])
    plan = plan_arrays(source, arrays, options)
    n = len(plan.y)

    def texts(name: str) -> Sequence[str]:
        return as_texts(whole(arrays[name]), f"{source}: {name}")

    names, rule = divided(
        source,
        n,
        given=texts(plan.split) if plan.split else None,
        what=f"the array {plan.split}",
        where=[f"{source}, sample {row}" for row in range(n)] if plan.split else (),
        by=plan.groups,
        groups=texts(plan.groups) if plan.groups else None,
        chosen={name: options[name] for name in SPLITS},
        classes=plan.y.tolist() if plan.task == "multiclass" and not plan.along else None,
        seed=options["seed"],
        complete=True,
    )
    labels = texts(plan.ids) if plan.ids else [str(row) for row in range(n)]
    along = plan.along
    gaps = along is not None and along in plan.masks
    where = np.array(names)
    with StoreWriter(
        dest,
        signals=plan.shapes,
        masked=list(plan.masks),
        task=plan.task,
        outputs=plan.outputs,
        origin=origin | {"splits": rule},
        along=along,
        target_masked=gaps,
    ) as writer:
        for name in SPLITS:
            rows = np.flatnonzero(where == name)
            for first in range(0, len(rows), CHUNK):
                chunk = rows[first : first + CHUNK]
                steps = plan.lengths[along] if along is not None else None
                writer.add(
                    name,
                    {
                        signal: _values(arrays[of], plan.lengths[signal], plan.tick, chunk)
                        for signal, of in plan.inputs.items()
                    },
                    plan.y[chunk] if steps is None else [plan.y[row, : steps[row]] for row in chunk],
                    ids=[labels[row] for row in chunk],
                    masks={signal: mask[chunk] for signal, mask in plan.masks.items()},
                    target_mask=plan.masks[along][chunk] if gaps and along is not None else None,
                )
    return Store(dest)


def _named(source: Path, arrays: Arrays, given: Sequence[str], option: str, usual: Sequence[str]) -> str:
    """Return the array that is given, or the one array with a usual name; an empty text if there is none."""
    names = [name for name in given if name]
    if len(names) > 1:
        raise DataError(f"--{option} of arrays is one array, [N, K] for K labels or numbers; found {', '.join(names)}")
    if names and names[0] not in arrays:
        raise DataError(
            f"{source} has no array {names[0]!r} of --{option}; there are: {list_arrays(arrays)}"
            + suggestion(names[0], arrays)
        )
    found = names or [name for name in arrays if name.lower() in usual]
    if len(found) > 1:
        raise UnclearError(f"{source}: {', '.join(found)} may each be --{option}; give one", {option: found[0]})
    return found[0] if found else ""


def _onlytargets_of(source: Path, arrays: Arrays, taken: set[str]) -> str:
    """Return the one array that can be the target: a value a sample of some other array that has more than that."""
    sizes = {len(x) for name, x in arrays.items() if x.ndim > 1 and name not in taken}
    rows = [
        name
        for name, x in arrays.items()
        if name not in taken and len(x.shape) in (1, 2) and x.shape[1:] in ((), (1,)) and len(x) in sizes
    ]
    if len(rows) == 1:
        return rows[0]
    free = rows or [name for name in arrays if name not in taken]
    raise UnclearError(
        f"{source}: which array is the target? there are: {list_arrays(arrays)}; give --target NAME",
        {"target": free[0] if len(free) > 1 else "NAME"},
    )


def _inputs(source: Path, arrays: Arrays, given: Sequence[str], taken: set[str], n: int) -> dict[str, str]:
    """Return the array of each signal."""
    free = [name for name in arrays if name not in taken]
    if not given:
        usable = [name for name in free if arrays[name].ndim > 1 and arrays[name].dtype.kind in "fiub"]
        if not usable:
            raise UnclearError(
                f"{source}: which arrays are inputs? there are: {list_arrays(arrays)}; give --inputs NAME",
                {"inputs": [free[0] if free else "NAME"]},
            )
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


def _helps(name: str, arrays: Arrays, options: Mapping[str, Any]) -> bool:
    """Return whether an array says which positions of another are valid."""
    if name in (options["lengths"], options["mask"]):
        return True
    x, own = arrays[name], any(name == f"{other}_{end}" for other in arrays for end in ("length", "lengths", "mask"))
    if own:
        return True
    return (name.lower() in _LENGTHS and x.ndim == 1) or (name.lower() in _MASKS and x.ndim == 2)


def _valid_positions(
    source: Path, arrays: Arrays, inputs: Mapping[str, str], options: Mapping[str, Any], n: int
) -> tuple[dict[str, NDArray[np.int64] | None], dict[str, NDArray[np.bool_]]]:
    """Return lengths and masks by signal; a mask without gaps is lengths."""
    for option in ("lengths", "mask"):
        _named(source, arrays, [options[option]], option, ())
    lengths: dict[str, NDArray[np.int64] | None] = {}
    masks: dict[str, NDArray[np.bool_]] = {}
    for signal, name in inputs.items():
        x, lengths[signal] = arrays[name], None
        common = x.ndim > 2 or len(inputs) == 1
        usual = [each for each in arrays if each.lower() in _LENGTHS and arrays[each].ndim == 1] if common else []
        if of := _first(arrays, f"{name}_length", f"{name}_lengths", options["lengths"], *usual):
            lengths[signal] = _lengths(source, arrays, of, name, n)
            continue
        usual = [each for each in arrays if each.lower() in _MASKS and arrays[each].shape == x.shape[:2]]
        if x.ndim > 1 and (of := _first(arrays, f"{name}_mask", options["mask"], *usual)):
            mask = _mask(source, arrays, of, name)
            count = mask.sum(axis=1)
            if (mask == (np.arange(mask.shape[1]) < count[:, None])).all() and count.all():
                lengths[signal] = count.astype(np.int64)
            else:
                masks[signal] = mask
    return lengths, masks


def _valid(x: Array, lengths: NDArray[np.int64] | None, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Return which positions are valid, ``[N, L]``; None if all are."""
    return mask if lengths is None else np.arange(x.shape[1]) < lengths[:, None]


def _first(arrays: Arrays, *names: str) -> str:
    return next((name for name in names if name in arrays), "")


def _mask(source: Path, arrays: Arrays, of: str, name: str) -> NDArray[np.bool_]:
    mask = whole(arrays[of])
    if mask.shape != arrays[name].shape[:2] or mask.dtype.kind not in "fiub" or not ((mask == 0) | (mask == 1)).all():
        raise DataError(
            f"{source}: {of} is {mask.dtype} of shape {list(mask.shape)}; a mask of {name} "
            f"{list(arrays[name].shape)} is {list(arrays[name].shape[:2])}, 1 where a position is valid and 0 elsewhere"
        )
    return mask.astype(bool)


def _lengths(source: Path, arrays: Arrays, of: str, name: str, n: int) -> NDArray[np.int64]:
    """Return the positions that each sample has."""
    found = whole(arrays[of])
    most = arrays[name].shape[1] if arrays[name].ndim > 1 else 0
    if found.shape != (n,) or found.dtype.kind not in "iu" or (found < 1).any() or (found > most).any():
        raise DataError(
            f"{source}: {of} is {found.dtype} of shape {list(found.shape)}; give {n} whole numbers of 1 to "
            f"{most}, the positions of each sample of {name} {list(arrays[name].shape)}"
        )
    return found.astype(np.int64)


def _has_positions(x: Array, lengths: NDArray[np.int64] | None, tick: float | None) -> bool:
    """Return whether the second axis is positions; of ``[N, D]`` it is if lengths or a rate say so."""
    return x.ndim > 2 or lengths is not None or tick is not None


def _shape(source: Path, x: Array, name: str, lengths: NDArray[np.int64] | None, tick: float | None) -> SignalShape:
    """Return how an input is stored: ``[N, L, ...]``, or ``[N, D]`` as one position."""
    dtype = {"uint16": "int32", "uint32": "int64"}.get(x.dtype.name, x.dtype.name)
    if x.ndim < 2 or 0 in x.shape or dtype not in DTYPES:
        raise DataError(
            f"{source}: {name} is {x.dtype} of shape {list(x.shape)}; inputs are numbers [N, D] or [N, L, ...]"
        )
    if not _has_positions(x, lengths, tick):
        return SignalShape(x.shape[1:], 1, dtype, False)
    return SignalShape(x.shape[2:], x.shape[1], dtype, lengths is not None, tick)


def _values(x: Array, lengths: NDArray[np.int64] | None, tick: float | None, rows: NDArray[np.intp]) -> Any:
    chosen = x[rows]
    if lengths is not None:
        return [values[: lengths[row]] for values, row in zip(chosen, rows, strict=True)]
    return chosen if _has_positions(x, lengths, tick) else chosen[:, None]
