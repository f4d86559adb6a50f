"""What the targets of a user's own arrays are: their task, its outputs, and whether each position has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.array_sources import Array, whole
from neurozoo.data.importers.detected import UnclearError
from neurozoo.data.importers.splitting import natural
from neurozoo.errors import DataError
from neurozoo.files.text import as_texts

__all__ = ["MOST_GUESSED", "targets_of"]

MOST_GUESSED = 50
"""Different whole numbers of a target up to which it is guessed to be a class."""
Arrays = Mapping[str, Array]


def targets_of(
    source: Path,
    arrays: Arrays,
    name: str,
    task: str | None,
    inputs: Mapping[str, str],
    valid: Mapping[str, NDArray[np.bool_] | None],
) -> tuple[NDArray[Any], str, Sequence[str], str | None]:
    """Return targets, task, outputs, and the signal that they belong to step by step, if they do.

    Args:
        source: Names the data in errors.
        arrays: All arrays.
        name: The one of the targets: ``[N]``, ``[N, K]``, ``[N, L]`` or ``[N, L, K]``.
        task: Its name; None to guess it.
        inputs: The array of each signal that has positions.
        valid: By signal, which positions are valid, ``[N, L]`` bool; None if all are.

    Raises:
        UnclearError: The task cannot be guessed.
        DataError: The targets do not fit the task.
    """
    y = whole(arrays[name])
    where = f"{source}: {name} is {y.dtype} of shape {list(y.shape)}"
    if task != "regression" and y.dtype.kind == "f" and np.isfinite(y).all() and not (y % 1).any():
        y = y.astype(np.int64)
    if y.ndim == 2 and y.shape[1] == 1 and task != "multilabel":
        y = y[:, 0]
    along = _along(y, arrays, inputs, task)
    if along and (counts := valid[along]) is not None:
        # Padding is no class of its own, whatever number it has.
        y = y.copy()
        y[~counts] = y[counts][0]
    each = y.shape[2:] if along else y.shape[1:]
    if len(each) > 1:
        raise DataError(f"{where}; targets are [N], [N, K], or along an input [N, L] or [N, L, K]")
    bits = y.dtype.kind in "iub" and bool(((y == 0) | (y == 1)).all())
    if task in (None, "multiclass") and bits and each and each[0] > 1 and bool((y.sum(axis=-1) == 1).all()):
        # One-hot classes; as labels they would never be several.
        return y.argmax(axis=-1), "multiclass", [str(place) for place in range(each[0])], along
    if task is None:
        if y.ndim == 2 and y.dtype.kind == "f" and any(arrays[of].shape[1] == y.shape[1] for of in inputs.values()):
            raise UnclearError(
                f"{where}; give --task regression if each sample has {y.shape[1]} numbers, and the array as "
                f"{[*y.shape, 1]} if each position has one",
                {"task": "regression"},
            )
        task = _guessed_task(where, y, each, bits)
    if task == "multiclass":
        if each or y.dtype.kind not in "iuUSb":
            raise DataError(f"{where}; classes are whole numbers or texts, [N], one-hot, or [N, L] along an input")
        known, places = np.unique(y.astype(np.uint8) if y.dtype.kind == "b" else y, return_inverse=True)
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


def _guessed_task(where: str, y: NDArray[Any], each: Sequence[int], bits: bool) -> str:
    if each and bits:
        return "multilabel"
    if not each and (y.dtype.kind in "USb" or (y.dtype.kind in "iu" and len(np.unique(y)) <= MOST_GUESSED)):
        return "multiclass"
    if y.dtype.kind == "f":
        return "regression"
    raise UnclearError(
        f"{where}, with {len(np.unique(y)):,} different values; say what they are by --task regression, multiclass or "
        "multilabel",
        {"task": "regression"},
    )


def _along(y: NDArray[Any], arrays: Arrays, inputs: Mapping[str, str], task: str | None) -> str | None:
    """Return the first input with as many positions as the targets have; [N, K] of labels is one of the sample."""
    if y.ndim < 2 or (y.ndim == 2 and task in ("multilabel", "regression")):
        return None
    fits = [signal for signal, of in inputs.items() if arrays[of].shape[1] == y.shape[1]]
    whole_numbers = y.ndim == 3 or y.dtype.kind in "US" or (y.dtype.kind in "iu" and task == "multiclass")
    return fits[0] if fits and (whole_numbers or y.max(initial=0) > 1) else None
