"""Importer of the Memory Fusion Network's data files, such as POM: arrays ``[N, L, D]`` by split.

Source: Zadeh et al., Memory fusion network for multi-view sequential learning, AAAI 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.foreign.npz import read_npz
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError

__all__ = ["import_mfn"]

_SPLITS = ("train", "valid", "test")
_POM = {
    "licence": "MIT (as distributed with MFN)",
    "citation": "Park et al.: Computational analysis of persuasiveness in social multimedia, ICMI 2014",
}

_Arrays = Mapping[str, NDArray[Any]]


def import_mfn(source: Path, dest: Path, *, labels: Sequence[str] = ()) -> Store:
    """Make a store of MFN files; a label is present where its score is above the training median.

    Args:
        source: A folder with ``NAME_train.npz``, ``NAME_valid.npz`` and ``NAME_test.npz``. Every array
            of three axes ``[N, L, D]`` is a modality; ``y`` ``[N, K]`` are the scores.
        dest: The store's folder; new or empty.
        labels: Names of the K scores; by default ``trait_00`` and so on.

    Raises:
        DataError: A file or array is missing, truncated, or of another shape.
    """
    paths = _files(source)
    arrays = {split: read_npz(path) for split, path in paths.items()}
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
    prefix = paths["train"].name.removesuffix("_train.npz")
    origin: dict[str, Any] = {"format": "mfn", "source": prefix, "licence": "unknown", "citation": "unknown"}
    origin |= _POM if prefix == "pom" else {}
    origin["options"] = {"labels": list(labels)}
    origin["label_rule"] = "score above the median of the training split"
    origin["medians"] = [float(median) for median in medians]
    label_names = list(labels) or [f"trait_{i:02d}" for i in range(k)]
    with StoreWriter(dest, labels=label_names, origin=origin) as writer:
        for split, scored in arrays.items():
            writer.add(split, {name: scored[name] for name in names}, scored["y"] > medians)
    return Store(dest)


def _files(source: Path) -> dict[str, Path]:
    trains = sorted(source.glob("*_train.npz")) if source.is_dir() else []
    found = ", ".join(sorted(path.name for path in source.glob("*.npz"))) if source.is_dir() else ""
    if len(trains) != 1:
        raise DataError(f"{source}: an MFN data set is a folder with one NAME_train.npz; there are: {found or 'none'}")
    prefix = trains[0].name.removesuffix("_train.npz")
    paths = {split: source / f"{prefix}_{split}.npz" for split in _SPLITS}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} is missing; there are: {found}")
    return paths


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
