"""Importer of the Memory Fusion Network's data files, such as POM: arrays ``[N, L, D]`` by split.

Source: Zadeh et al., Memory fusion network for multi-view sequential learning, AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign.hdf5 import open_hdf5, read_dataset
from neurozoo.data.foreign.npz import read_npz
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.widths import modality_widths
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

_Arrays = Mapping[str, NDArray[Any]]


def import_mfn(source: Path, dest: Path, *, labels: Sequence[str] = (), modalities: Sequence[str] = ()) -> Store:
    """Make a store of MFN files; a label is present where its score is above the training median.

    Args:
        source: A folder with ``NAME_train``, ``NAME_valid`` and ``NAME_test``, as ``.npz`` or ``.h5``: every
            array of three axes ``[N, L, D]`` is a modality, ``y`` ``[N, K]`` are the scores. Or with ``X_train.h5``,
            ``y_train.h5`` and so on, one array each: all modalities side by side, and ``[N]`` or ``[N, K]``.
        dest: The store's folder; new or empty.
        labels: Names of the K scores; by default ``trait_00`` and so on.
        modalities: How the features of ``X`` divide, ``NAME=NUMBER`` each, such as
            ``text=300,audio=5,vision=20``; only for that form.

    Raises:
        DataError: A file or array is missing, truncated, or of another shape.
    """
    paths = _files(source)
    arrays = {split: _read(path, modalities) for split, path in paths.items()}
    names = [name for name, x in arrays["train"].items() if name != "y" and x.ndim == 3]
    if not names:
        found = ", ".join(f"{name} {list(x.shape)}" for name, x in arrays["train"].items())
        raise DataError(f"{paths['train']}: no array has three axes [N, L, D]; there are: {found or 'none'}")
    for split, path in paths.items():
        _check(path, arrays[split], names)
    # From train alone: the other splits must not decide what their own labels are.
    medians = np.median(arrays["train"]["y"], axis=0)
    k = len(medians)
    if labels and len(labels) != k:
        raise DataError(f"{len(labels)} label names for {k} scores in {paths['train']}; give one each")
    prefix = paths["train"].stem.removesuffix("_train")
    prefix = source.name if prefix == _TOGETHER else prefix
    origin: dict[str, Any] = {"format": "mfn", "source": prefix, "licence": "unknown", "citation": "unknown"}
    origin |= _POM if prefix == "pom" else {}
    origin["options"] = {"labels": list(labels), "modalities": list(modalities)}
    origin["label_rule"] = "score above the median of the training split"
    origin["medians"] = [float(median) for median in medians]
    label_names = list(labels) or [f"trait_{i:02d}" for i in range(k)]
    with StoreWriter(dest, labels=label_names, origin=origin) as writer:
        for split, scored in arrays.items():
            writer.add(split, {name: scored[name] for name in names}, scored["y"] > medians)
    return Store(dest)


def _files(source: Path) -> dict[str, Path]:
    trains = [path for ending in _ENDINGS for path in sorted(source.glob(f"*_train{ending}")) if path.stem != "y_train"]
    found = ", ".join(sorted(path.name for path in source.glob("*") if path.suffix in _ENDINGS))
    if len(trains) != 1:
        raise DataError(
            f"{source}: an MFN data set has one NAME_train.npz or NAME_train.h5; there are: {found or 'none'}"
        )
    prefix, ending = trains[0].stem.removesuffix("_train"), trains[0].suffix
    paths = {split: source / f"{prefix}_{split}{ending}" for split in _SPLITS}
    wanted = [*paths.values(), *([_scores(path) for path in paths.values()] if prefix == _TOGETHER else [])]
    missing = [path.name for path in wanted if not path.is_file()]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} is missing; there are: {found}")
    return paths


def _scores(path: Path) -> Path:
    """Where the scores of ``X_train.h5`` are."""
    return path.with_name("y" + path.name.removeprefix(_TOGETHER))


def _read(path: Path, modalities: Sequence[str]) -> _Arrays:
    together = path.stem.partition("_")[0] == _TOGETHER
    if modalities and not together:
        raise DataError(f"{path} names its modalities itself; leave out modalities={','.join(modalities)}")
    if not together:
        return _arrays(path)
    x, y = _only(path), _only(_scores(path))
    if x.ndim != 3 or not modalities:
        raise DataError(
            f"{path} is {x.dtype} of shape {list(x.shape)}, and does not say how its features divide; numbers "
            "[N, L, D] are needed, and modalities=NAME=NUMBER,..., such as text=300,audio=5,vision=20"
        )
    widths = modality_widths(modalities, x.shape[2], path.name)
    parts = np.split(x, np.cumsum(list(widths.values()))[:-1], axis=2)
    return {**dict(zip(widths, parts, strict=True)), "y": y[:, None] if y.ndim == 1 else y}


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
    for name in [*names, "y"]:
        if name not in arrays:
            raise DataError(f"{path}: the array {name!r} is missing; there are: {', '.join(arrays) or 'none'}")
    y = arrays["y"]
    if y.ndim != 2 or y.dtype.kind not in "fiu" or 0 in y.shape:
        raise DataError(f"{path}: y is {y.dtype} of shape {list(y.shape)}; give numbers [N, K]")
    wrong = np.argwhere(~np.isfinite(y))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(f"{path}: score {column} of sample {row} is {y[row, column]}; scores must be finite")
    for name in names:
        if len(arrays[name]) != len(y):
            raise DataError(f"{path}: {name!r} has {len(arrays[name])} samples, y has {len(y)}")
