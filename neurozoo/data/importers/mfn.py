"""Importer of the Memory Fusion Network's data files, such as POM: arrays ``[N, L, D]`` by split.

Source: Zadeh et al., Memory fusion network for multi-view sequential learning, AAAI 2018.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign.hdf5 import open_hdf5, read_dataset
from neurozoo.data.foreign.npz import read_npz
from neurozoo.data.importers.column_widths import modality_widths
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_mfn"]

_SPLITS = ("train", "valid", "test")
_POM = {
    "licence": "MIT (as distributed with MFN)",
    "citation": "Park et al.: Computational analysis of persuasiveness in social multimedia, ICMI 2014",
}

_ENDINGS = (".npz", ".h5", ".hdf5")
_TOGETHER = "X"
"""Files of this name hold all modalities side by side."""
_SCORES = "y"
_FILE = re.compile(r"(?P<name>.+?)_(?P<split>train|valid|test)(_emb)?")
"""Before the ending; MFN calls the file of its word vectors ``text_train_emb``."""

_Arrays = Mapping[str, NDArray[Any]]


def import_mfn(source: Path, dest: Path, *, labels: Sequence[str] = (), modalities: Sequence[str] = ()) -> Store:
    """Make a store of MFN files; a label is present where its score is above the training median.

    Args:
        source: A folder with ``NAME_train``, ``NAME_valid`` and ``NAME_test``, as ``.npz`` or ``.h5``: every
            array of three axes ``[N, L, D]`` is a modality, ``y`` ``[N, K]`` are the scores. Or with a file for
            each modality, ``audio_train.h5`` and so on, and ``y_train.h5`` for ``[N]`` or ``[N, K]``, one array
            each; the modality ``X`` is all of them side by side.
        dest: The store's folder; new or empty.
        labels: Names of the K scores; by default ``trait_00`` and so on.
        modalities: How the features of ``X`` divide, ``NAME=NUMBER`` each, such as
            ``text=300,audio=5,vision=20``; only for that form.

    Raises:
        DataError: A file or array is missing, truncated, or of another shape.
    """
    paths = _files(source)
    arrays = {split: _read(files, modalities) for split, files in paths.items()}
    scored = {split: files.get(_SCORES) or next(iter(files.values())) for split, files in paths.items()}
    names = [name for name, x in arrays["train"].items() if name != _SCORES and x.ndim == 3]
    if not names:
        found = ", ".join(f"{name} {list(x.shape)}" for name, x in arrays["train"].items())
        raise DataError(f"{scored['train']}: no array has three axes [N, L, D]; there are: {found or 'none'}")
    for split, path in scored.items():
        _check(path, arrays[split], names)
    # From train alone: the other splits must not decide what their own labels are.
    medians = np.median(arrays["train"][_SCORES], axis=0)
    k = len(medians)
    if labels and len(labels) != k:
        raise DataError(f"{len(labels)} label names for {k} scores in {scored['train']}; give one each")
    name = source.absolute().name if _SCORES in paths["train"] else next(iter(paths["train"]))
    origin: dict[str, Any] = {"format": "mfn", "source": name, "licence": "unknown", "citation": "unknown"}
    origin |= _POM if name == "pom" else {}
    origin["options"] = {"labels": list(labels), "modalities": list(modalities)}
    origin["label_rule"] = "score above the median of the training split"
    origin["medians"] = [float(median) for median in medians]
    label_names = list(labels) or [f"trait_{i:02d}" for i in range(k)]
    with StoreWriter(dest, labels=label_names, origin=origin) as writer:
        for split, read in arrays.items():
            writer.add(split, {name: read[name] for name in names}, read[_SCORES] > medians)
    return Store(dest)


def _files(source: Path) -> dict[str, dict[str, Path]]:
    """The files by split, and by what their names say before it: one name, or a modality each and ``y``."""
    found: dict[str, dict[str, Path]] = {split: {} for split in _SPLITS}
    there = sorted(path for path in source.glob("*") if path.suffix in _ENDINGS)
    for path in there:
        if not (match := _FILE.fullmatch(path.stem)):
            continue
        other = found[match["split"]].setdefault(match["name"], path)
        if other != path:
            raise DataError(f"{source}: {other.name} and {path.name} are both {match['name']}; move one away")
    names = list(found["train"])
    listed = ", ".join(path.name for path in there) or "none"
    if not names or (len(names) > 1) != (_SCORES in names):
        raise DataError(
            f"{source}: an MFN data set has NAME_train.npz or NAME_train.h5, or {_SCORES}_train.h5 and "
            f"MODALITY_train.h5 for each; there are: {listed}"
        )
    expected = {
        (split, name): f"{path.stem.replace('train', split)}{path.suffix}"
        for split in _SPLITS
        for name, path in found["train"].items()
    }
    missing = [file for (split, name), file in expected.items() if name not in found[split]]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} is missing; there are: {listed}")
    return {split: {name: paths[name] for name in names} for split, paths in found.items()}


def _read(paths: Mapping[str, Path], modalities: Sequence[str]) -> _Arrays:
    """The arrays of a split: modalities and ``y``."""
    together = paths.get(_TOGETHER)
    if modalities and together is None:
        first = next(iter(paths.values()))
        raise DataError(f"{first} names its modalities itself; leave out modalities={','.join(modalities)}")
    if _SCORES not in paths:
        return _arrays(*paths.values())
    arrays = {name: _only(path) for name, path in paths.items()}
    if arrays[_SCORES].ndim == 1:
        arrays[_SCORES] = arrays[_SCORES][:, None]
    if together is None:
        return arrays
    x = arrays.pop(_TOGETHER)
    if x.ndim != 3 or not modalities:
        raise DataError(
            f"{together} is {x.dtype} of shape {list(x.shape)}, and does not say how its features divide; numbers "
            "[N, L, D] are needed, and modalities=NAME=NUMBER,..., such as text=300,audio=5,vision=20"
        )
    widths = modality_widths(modalities, x.shape[2], together.name)
    parts = np.split(x, np.cumsum(list(widths.values()))[:-1], axis=2)
    return {**dict(zip(widths, parts, strict=True)), **arrays}


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        return read_npz(path)
    with open_hdf5(path) as file:
        return {name: read_dataset(file, name) for name in file}


def _only(path: Path) -> NDArray[Any]:
    arrays = _arrays(path)
    if len(arrays) != 1:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; one array is needed")
    return next(iter(arrays.values()))


def _check(path: Path, arrays: _Arrays, names: Sequence[str]) -> None:
    for name in [*names, _SCORES]:
        if name not in arrays:
            raise DataError(f"{path}: the array {name!r} is missing; there are: {', '.join(arrays) or 'none'}")
    y = arrays[_SCORES]
    if y.ndim != 2 or y.dtype.kind not in "fiu" or 0 in y.shape:
        raise DataError(f"{path}: y is {y.dtype} of shape {list(y.shape)}; give numbers [N, K]")
    wrong = np.argwhere(~np.isfinite(y))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(f"{path}: score {column} of sample {row} is {y[row, column]}; scores must be finite")
    for name in names:
        if len(arrays[name]) != len(y):
            raise DataError(f"{path}: {name!r} has {len(arrays[name])} samples, y has {len(y)}")
