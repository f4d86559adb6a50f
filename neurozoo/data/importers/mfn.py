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

from neurozoo.data.importers.common import (
    POM,
    SPLITS,
    UNKNOWN,
    files_in,
    list_arrays,
    modality_widths,
    origin_of,
    split_columns,
)
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.npz import read_npz
from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import DataError

__all__ = ["import_mfn"]

_ENDINGS = (".npz", ".h5", ".hdf5")
_JOINED = "X"
"""Name of files that hold all modalities side by side."""
_SCORES = "y"
_STEM = re.compile(r"(?P<name>.+?)_(?P<split>train|valid|test)(_emb)?")
"""File name without ending; MFN names the file of its word vectors ``text_train_emb``."""

Arrays = Mapping[str, NDArray[Any]]


def import_mfn(source: Path, dest: Path, *, labels: Sequence[str] = (), modalities: Sequence[str] = ()) -> Store:
    """Make a store of MFN files; a label is present where its score is above the training median.

    Scores that are 0 and 1 in all of train are labels already and stay as they are.

    Args:
        source: A folder with ``NAME_train``, ``NAME_valid`` and ``NAME_test``, as ``.npz`` or ``.h5``: every
            array of three axes ``[N, L, D]`` is a modality, ``y`` ``[N, K]`` are the scores. Or a folder with one file
            per modality, ``audio_train.h5`` and so on, and ``y_train.h5`` for ``[N]`` or ``[N, K]``, one array
            each; the modality ``X`` is all of them side by side.
        dest: The store's folder; new or empty.
        labels: Names of the K scores; by default ``trait_00`` and so on.
        modalities: How the features of ``X`` divide, ``NAME=NUMBER`` each, such as
            ``text=300,audio=5,vision=20``; only for that form.

    Raises:
        DataError: A file or array is missing, truncated, or of another shape.
    """
    paths = _find_files(source)
    arrays = {split: _read_split(files, modalities) for split, files in paths.items()}
    score_files = {split: files.get(_SCORES) or next(iter(files.values())) for split, files in paths.items()}
    names = [name for name, x in arrays["train"].items() if name != _SCORES and x.ndim == 3]
    if not names:
        raise DataError(
            f"{score_files['train']}: no array has three axes [N, L, D]; there are: {list_arrays(arrays['train'])}"
        )
    for split, path in score_files.items():
        _check(path, arrays[split], names)
    # From train alone: valid and test must not decide what their own labels are.
    scores = arrays["train"][_SCORES]
    medians = np.median(scores, axis=0)
    # Of labels already: above their median there would be nobody if more than half have one.
    are_labels = ((scores == 0) | (scores == 1)).all(axis=0).tolist()
    thresholds = np.where(are_labels, 0, medians)
    k = len(medians)
    if labels and len(labels) != k:
        raise DataError(f"{len(labels)} label names for {k} scores in {score_files['train']}; give one each")
    name = source.absolute().name if _SCORES in paths["train"] else next(iter(paths["train"]))
    options = {"labels": list(labels), "modalities": list(modalities)}
    origin = origin_of("mfn", name, POM if name == "pom" else UNKNOWN, **options)
    label_names = list(labels) or [f"trait_{i:02d}" for i in range(k)]
    origin |= {"label_rule": "score above the median of the training split", "medians": medians.tolist()}
    if any(are_labels):
        origin["scores_of_0_and_1"] = [name for name, is_label in zip(label_names, are_labels, strict=True) if is_label]
        origin["label_rule"] += "; scores of 0 and 1 are the labels"
    with StoreWriter(dest, labels=label_names, origin=origin) as writer:
        for split, read in arrays.items():
            writer.add(split, {name: read[name] for name in names}, read[_SCORES] > thresholds)
    return Store(dest)


def _find_files(source: Path) -> dict[str, dict[str, Path]]:
    """Return the files by split and name: one name, or each modality and ``y``."""
    files: dict[str, dict[str, Path]] = {split: {} for split in SPLITS}
    present = files_in(source, *_ENDINGS)
    for path in present:
        if not (match := _STEM.fullmatch(path.stem)):
            continue
        other = files[match["split"]].setdefault(match["name"], path)
        if other != path:
            raise DataError(f"{source}: {other.name} and {path.name} are both {match['name']}; move one away")
    names = list(files["train"])
    listed = ", ".join(path.name for path in present) or "none"
    if not names or (len(names) > 1) != (_SCORES in names):
        raise DataError(
            f"{source}: an MFN data set has NAME_train.npz or NAME_train.h5, or {_SCORES}_train.h5 and "
            f"MODALITY_train.h5 for each; there are: {listed}"
        )
    missing = [
        f"{path.stem.replace('train', split)}{path.suffix}"
        for split in SPLITS
        for name, path in files["train"].items()
        if name not in files[split]
    ]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} is missing; there are: {listed}")
    return {split: {name: paths[name] for name in names} for split, paths in files.items()}


def _read_split(paths: Mapping[str, Path], modalities: Sequence[str]) -> Arrays:
    """Return the modalities and ``y`` of a split."""
    joined = paths.get(_JOINED)
    if modalities and joined is None:
        first = next(iter(paths.values()))
        raise DataError(f"{first} names its modalities itself; leave out modalities={','.join(modalities)}")
    if _SCORES not in paths:
        return _read_file(*paths.values())
    arrays = {name: _read_single(path) for name, path in paths.items()}
    if arrays[_SCORES].ndim == 1:
        arrays[_SCORES] = arrays[_SCORES][:, None]
    if joined is None:
        return arrays
    x = arrays.pop(_JOINED)
    if x.ndim != 3 or not modalities:
        raise DataError(
            f"{joined} is {x.dtype} of shape {list(x.shape)}, and does not say how its features divide; numbers "
            "[N, L, D] are needed, and modalities=NAME=NUMBER,..., such as text=300,audio=5,vision=20"
        )
    return split_columns(x, modality_widths(modalities, x.shape[2], joined.name)) | arrays


def _read_file(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix == ".npz":
        return read_npz(path)
    return {name: np.asarray(value) for name, value in read_hdf5(path).items()}


def _read_single(path: Path) -> NDArray[Any]:
    arrays = _read_file(path)
    if len(arrays) != 1:
        raise DataError(f"{path} holds {', '.join(arrays) or 'nothing'}; one array is needed")
    return next(iter(arrays.values()))


def _check(path: Path, arrays: Arrays, names: Sequence[str]) -> None:
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
        samples = len(np.atleast_1d(arrays[name]))
        if samples != len(y):
            raise DataError(f"{path}: {name!r} has {samples} samples, y has {len(y)}")
