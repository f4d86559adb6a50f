"""Read arrays of a user's own as a mapping ``name -> [N, ...]``: from one file, several files, or a file a sample."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import SPLITS, files_in, list_arrays
from neurozoo.data.importers.splitting import natural, split_alias
from neurozoo.data.untrusted.npz import read_npy, read_npz
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_text

__all__ = ["SPLIT_ARRAY", "TARGET_ARRAYS", "Array", "SampleFiles", "read_arrays", "whole", "without_split"]

TARGET_ARRAYS = ("label", "labels", "target", "targets", "class", "y")
"""Usual names of an array of targets, in small letters."""
SPLIT_ARRAY = "split"
_ENDINGS = (".npz", ".npy")
_WORDS = "train|training|valid|validation|val|dev|test|testing"
_OF_SPLIT = re.compile(rf"(?P<name>.+?)_?(?P<split>{_WORDS})|(?P<split2>{_WORDS})_?(?P<name2>.+)", re.IGNORECASE)
_MOST_FILES = 2_000_000
_MOST_ARRAYS = 32
"""Files up to which a folder is looked through for whole arrays without a usual name."""
_SHORT = 10_000
"""Positions up to which a row of numbers a sample, such as its targets, is read at once."""
_AXES = "NTCHWF"


class SampleFiles:
    """An array ``[N, L, ...]`` with a file a sample, read where it is indexed; shorter samples end with zeros.

    Args:
        paths: The files.
        member: The array's name in each; of npy files anything.
        shape: ``(N, L, ...)`` with the positions L of the longest sample.
        dtype: Of the values.
    """

    def __init__(self, paths: Sequence[Path], member: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._paths, self._member = paths, member
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Return the samples of these places, ``[n, L, ...]``."""
        found = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for place, row in enumerate(rows):
            x = _arrays_of(self._paths[row])[self._member]
            found[place, : len(x)] = x
        return found


Array = NDArray[Any] | SampleFiles


def whole(x: Array) -> NDArray[Any]:
    """Return an array with all its samples in memory."""
    return x if isinstance(x, np.ndarray) else x[np.arange(len(x))]


def read_arrays(source: Path, named: Collection[str] = (), axes: Sequence[str] = ()) -> dict[str, Array]:
    """Return the arrays of a source by name, the samples along the first axis of each.

    Arrays by split, such as ``x_train`` and ``x_test``, are put one after another as ``x``, and ``split`` says which is
    which.

    Args:
        source: An npz file; a folder of npy files with an array each, or of ``train.npz`` and ``test.npz``; or a folder
            with an npz or npy file a sample, whose folders may be their classes and splits.
        named: Names of arrays that options give, by which a folder of whole arrays is known.
        axes: ``NAME=LETTERS``: what the axes of an array are, see ``import_table``.

    Raises:
        DataError: A file is no array of numbers, or the arrays of the splits or samples do not fit together.
    """
    arrays: dict[str, Array]
    if not source.is_dir():
        arrays = _joined(source, read_npz(source))
    else:
        files = files_in(source, *_ENDINGS, below=True)
        if not files:
            raise DataError(f"{source} holds no {' or '.join(_ENDINGS)} file; give the file or folder of the arrays")
        if len(files) > _MOST_FILES:
            raise DataError(f"{source} holds more than {_MOST_FILES:,} files; divide it")
        found = _whole_arrays(source, files, named)
        arrays = _by_sample(source, files) if found is None else _joined(source, found)
    given: dict[str, str] = {}
    for text in axes:
        name, equals, letters = text.partition("=")
        if not equals or name not in arrays:
            raise DataError(f"--axes {text!r}: give NAME=LETTERS; the arrays are: {list_arrays(arrays)}")
        given[name] = letters
    for name, x in arrays.items():
        if letters := given.get(name) or _pictures(x):
            arrays[name] = _ordered(name, x, letters)
    return arrays


def _arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of one file; the one of an npy file is called ``x``."""
    if path.suffix == ".npz":
        return read_npz(path)
    with open_regular(path) as file:
        return {"x": read_npy(file, path.stat().st_size, str(path))}


def _whole_arrays(source: Path, files: Sequence[Path], named: Collection[str]) -> dict[str, NDArray[Any]] | None:
    """Return a folder's arrays if its files are whole arrays, or whole splits; None if they are samples."""
    names = {path: path.relative_to(source).with_suffix("") for path in files}
    splits = [split_alias(name.parts[0]) for name in names.values()]
    if set(splits) <= {*SPLITS} and all(len(name.parts) == 1 and path.suffix == ".npz" for path, name in names.items()):
        return {
            f"{key}_{split}": x for path, split in zip(files, splits, strict=True) for key, x in read_npz(path).items()
        }
    if any(path.suffix != ".npy" for path in files):
        return None
    by_split = all(len(name.parts) == 2 for name in names.values()) and set(splits) <= {*SPLITS}
    if not by_split and any(len(name.parts) > 1 for name in names.values()):
        return None
    called = {
        path: f"{name.name}_{split}" if by_split else name.name
        for (path, name), split in zip(names.items(), splits, strict=True)
    }
    usual = any(without_split(name).lower() in TARGET_ARRAYS or name in named for name in called.values())
    if not usual and len(files) > _MOST_ARRAYS:
        return None
    arrays = {as_text(name, str(path)): _arrays_of(path)["x"] for path, name in called.items()}
    # Inputs and targets differ in their number of axes, samples do not.
    return arrays if usual or len({x.ndim for x in arrays.values()}) > 1 else None


def without_split(name: str) -> str:
    """Return the name of an array without the split in it: ``x`` of ``x_train``."""
    return _of_split(name)[0]


def _of_split(name: str) -> tuple[str, str]:
    """Return the name of an array without the split in it, and that split; the name and nothing if there is none."""
    match = _OF_SPLIT.fullmatch(name)
    if match is None:
        return name, ""
    return match["name"] or match["name2"], split_alias(match["split"] or match["split2"])


def _joined(source: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
    """Put arrays by split one after another; as they are if there are none of train."""
    parts: dict[str, dict[str, str]] = {}
    for name in arrays:
        base, split = _of_split(name)
        if split and parts.setdefault(base, {}).setdefault(split, name) != name:
            raise DataError(f"{source}: {parts[base][split]} and {name} are both {base} of {split}; rename one")
    parts = {base: by_split for base, by_split in parts.items() if "train" in by_split and base not in arrays}
    if not parts or SPLIT_ARRAY in arrays:
        return dict(arrays)
    splits = [split for split in SPLITS if any(split in by_split for by_split in parts.values())]
    found: dict[str, Array] = {}
    for base, by_split in parts.items():
        if missing := [split for split in splits if split not in by_split]:
            raise DataError(
                f"{source} has {', '.join(by_split.values())} and no {base} of {', '.join(missing)}; there are: "
                f"{list_arrays(arrays)}"
            )
        pieces = [arrays[by_split[split]] for split in splits]
        shapes = {piece.shape[1:] for piece in pieces}
        if len(shapes) > 1 or any(piece.ndim == 0 for piece in pieces):
            raise DataError(
                f"{source}: {list_arrays({by_split[split]: arrays[by_split[split]] for split in splits})} differ in "
                f"more than their samples; pad them to one length, and give each one's lengths as {base}_length_train "
                "and so on"
            )
        found[base] = np.concatenate(pieces)
    lengths = [len(arrays[next(iter(parts.values()))[split]]) for split in splits]
    used = {name for by_split in parts.values() for name in by_split.values()}
    rest = {name: x for name, x in arrays.items() if name not in used}
    return {**found, SPLIT_ARRAY: np.repeat(splits, lengths), **rest}


def _by_sample(source: Path, files: Sequence[Path]) -> dict[str, Array]:
    """Return arrays with a file a sample; each file is read once for its shapes, and again where it is used."""
    names = {path: path.relative_to(source).with_suffix("") for path in files}
    files = sorted(files, key=lambda path: natural(names[path].as_posix()))
    shapes: dict[str, list[tuple[int, ...]]] = {}
    values: dict[str, list[NDArray[Any]]] = {}
    dtypes: dict[str, np.dtype[Any]] = {}
    for path in files:
        arrays = _arrays_of(path)
        if shapes and set(arrays) != set(shapes):
            raise DataError(
                f"{path} holds {list_arrays(arrays)}, and {files[0]} {', '.join(shapes)}; files of samples have the "
                "same names"
            )
        for name, x in arrays.items():
            first, known = shapes.setdefault(name, [x.shape])[0], dtypes.setdefault(name, x.dtype)
            if x.ndim != len(first) or x.shape[1:] != first[1:] or (x.dtype.kind in "US") != (known.kind in "US"):
                raise DataError(
                    f"{path}: {name} is {x.dtype} {list(x.shape)}, and {known} {list(first)} in {files[0]}; samples "
                    "may differ in the length of their first axis alone"
                )
            dtypes[name] = np.promote_types(known, x.dtype)
            if path is not files[0]:
                shapes[name].append(x.shape)
            if x.ndim < 2 and x.size <= _SHORT:
                values.setdefault(name, []).append(x)
    found: dict[str, Array] = {}
    for name, each in shapes.items():
        lengths = [shape[0] for shape in each if shape]
        padded = (len(files), *each[0]) if not lengths else (len(files), max(lengths), *each[0][1:])
        if len(values.get(name, ())) == len(files):
            # Short rows, such as targets, need no second reading.
            found[name] = array = np.zeros(padded, dtypes[name])
            for row, x in enumerate(values[name]):
                array[(row, slice(len(x))) if x.ndim else row] = x
        else:
            found[name] = SampleFiles(files, name, padded, dtypes[name])
        if len(set(lengths)) > 1:
            found[f"{name}_length"] = np.array(lengths, np.int64)
    return found | _of_paths([names[path] for path in files], found)


def _of_paths(names: Sequence[Path], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return what the paths of samples say and their files do not: ids, and folders of splits and classes."""
    found: dict[str, Array] = {}
    folders = [name.parts[:-1] for name in names]
    if all(folder and split_alias(folder[0]) in SPLITS for folder in folders):
        found[SPLIT_ARRAY] = np.array([split_alias(folder[0]) for folder in folders])
        folders = [folder[1:] for folder in folders]
    classes = {folder[-1:] for folder in folders}
    if len(classes) > 1 and () not in classes and not any(name.lower() in TARGET_ARRAYS for name in arrays):
        found["label"] = np.array([as_text(folder[-1], str(name)) for folder, name in zip(folders, names, strict=True)])
    found["id"] = np.array([as_text(name.as_posix(), str(name)) for name in names])
    return {name: x for name, x in found.items() if name not in arrays}


def _pictures(x: Array) -> str:
    """Return the axes of what can only be pictures: 1 or 3 channels, before or after rows and columns."""
    if x.ndim != 4:
        return ""
    _, first, middle, last = x.shape
    if first in (1, 3) and min(middle, last) > 4:
        return "NCHW"
    return "NHWC" if last in (1, 3) and min(first, middle) > 4 else ""


def _ordered(name: str, x: Array, letters: str) -> NDArray[Any]:
    """Return an array with its axes in the order ``NTCHWF``, and one position if it has no T."""
    if len(letters) != x.ndim or len(set(letters)) < len(letters) or not {"N"} <= set(letters) <= set(_AXES):
        raise DataError(
            f"--axes {name}={letters}: {name} is {list(x.shape)}; give {x.ndim} different letters of N (samples), "
            "T (positions in time), C H W (channels, rows, columns) and F (features)"
        )
    order = [letters.index(letter) for letter in _AXES if letter in letters]
    moved = whole(x).transpose(order)
    return moved if "T" in letters or x.ndim < 3 else moved[:, None]
