"""Importer of the QT database of electrocardiograms as level-crossing events, with a label at every step.

Source: Yin, Corradi, Bohte: Accurate and efficient time-domain classification with adaptive spiking recurrent neural
networks, Nature Machine Intelligence 3, 2021; the recordings are those of Laguna et al., Computers in Cardiology 24,
1997.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import files_in, list_arrays, origin_of
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.untrusted.mat import read_mat
from neurozoo.errors import DataError

__all__ = ["PARTS", "detect_qtdb", "import_qtdb"]

PARTS = ("P", "PQ", "QR", "RS", "ST", "TP")
"""Parts of a heartbeat: the classes."""
_TERMS = {
    "licence": "ODC-BY 1.0 (recordings, PhysioNet), MIT (encoding)",
    "citation": "Laguna et al.: A database for evaluation of algorithms for measurement of QT and other waveform "
    "intervals in the ECG, Computers in Cardiology 24, 1997; Yin, Corradi, Bohte, Nature Machine Intelligence 3, 2021",
}
_SIGNAL = "ecg"
_CHANNELS = 4
_STEP = 0.004
"""Seconds of a step."""
_UNMEANT = 19
"""Steps at the start of each window that are labelled P whatever the heart does."""
_MARK = -1


def import_qtdb(
    source: Path,
    dest: Path,
    *,
    valid: Annotated[int, Field(ge=0)] = 93,
    start: Annotated[int, Field(ge=0)] = _UNMEANT,
    last_step: Literal["clear", "drop"] = "clear",
) -> Store:
    """Make a store of ``QTDB_train.mat`` and ``QTDB_test.mat`` with the signal ``ecg`` and a class at every step.

    A window has 1,301 steps of 4 ms, at each two leads with an event up and one down. The signal is stored as bits
    ``[1301, 4]``, which has the same steps as the labels. Three traps of the files are dealt with: channel 0 of the
    last step is -1, a mark and no event; 8 % of the steps have no label; and the first 19 of a window are labelled P
    without meaning it. Steps without a label, and the first ``start``, do not count.

    Which person a window is of is not known, so that a person may be both in train and in valid.

    Args:
        source: The folder of both files.
        dest: The store's folder; new or empty.
        valid: Windows at the end of train that become valid; 0 for none.
        start: Steps at the start of each window that do not count; published figures count all: 0.
        last_step: ``clear`` sets the mark to 0; ``drop`` leaves the last step out, so that 1,300 remain.

    Raises:
        DataError: A file is missing, damaged, or of another layout.
    """
    files = {split: source / f"QTDB_{split}.mat" for split in ("train", "test")}
    windows = {split: _read(path) for split, path in files.items() if split == "train" or path.exists()}
    train_x, train_y = windows["train"]
    if valid >= len(train_x):
        raise DataError(f"{files['train']} has {len(train_x)} windows, and {valid} are to be valid; give fewer")
    if valid:
        windows["train"], windows["valid"] = (train_x[:-valid], train_y[:-valid]), (train_x[-valid:], train_y[-valid:])
    steps = train_x.shape[1] - (last_step == "drop")
    if start >= steps:
        raise DataError(f"windows have {steps} steps, and the first {start} are not to count; give fewer")
    origin = origin_of("qtdb", source.name, _TERMS, valid=valid, start=start, last_step=last_step)
    origin |= {"splits": f"test as given; valid is the last {valid} windows of train"}
    shape = SignalShape((_CHANNELS,), steps, "bool", ragged=False, tick=_STEP)
    with StoreWriter(
        dest,
        signals={_SIGNAL: shape},
        task="multiclass",
        outputs=PARTS,
        origin=origin,
        along=_SIGNAL,
        target_masked=True,
    ) as writer:
        for split, (x, y) in windows.items():
            if x.shape[1] != train_x.shape[1]:
                raise DataError(f"{files[split]}: windows of {x.shape[1]} steps, and {train_x.shape[1]} in train")
            counts: NDArray[np.bool_] = np.any(y, axis=2)
            counts[:, :start] = False
            row = len(windows["train"][0]) if split == "valid" else 0
            ids = [f"{'train' if split == 'valid' else split}-{row + number}" for number in range(len(x))]
            target, mask = y.argmax(axis=2)[:, :steps], counts[:, :steps]
            writer.add(split, {_SIGNAL: x[:, :steps]}, target, ids=ids, target_mask=mask)
    return Store(dest)


def detect_qtdb(source: Path) -> DetectedFormat | None:
    """Return whether a folder, or that of a file, holds ``QTDB_train.mat``."""
    folder = source if source.is_dir() else source.absolute().parent
    if not source.is_dir() and not source.name.startswith("QTDB_"):
        return None
    names = tuple(path.name for path in files_in(folder, ".mat") if path.name.startswith("QTDB_"))
    if "QTDB_train.mat" not in names:
        return None
    return DetectedFormat("qtdb", "QTDB_train.mat: electrocardiograms with a label a step", names, folder=folder)


def _read(path: Path) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return a file's events and labels, the mark removed."""
    arrays = read_mat(path)
    if missing := [name for name in ("x", "y") if name not in arrays]:
        raise DataError(f"{path}: the variable {missing[0]} is missing; there are: {list_arrays(arrays)}")
    x, y = arrays["x"], arrays["y"]
    wanted = [*x.shape[:2], len(PARTS)]
    if x.ndim != 3 or x.shape[2] != _CHANNELS or list(y.shape) != wanted or 0 in x.shape or x.shape[1] < 2:
        raise DataError(
            f"{path}: x is {list(x.shape)} and y {list(y.shape)}; give x [N, L, {_CHANNELS}] and y [N, L, {len(PARTS)}]"
        )
    x = x.copy()
    x[:, -1, 0] = np.where(x[:, -1, 0] == _MARK, 0, x[:, -1, 0])
    for name, array in (("x", x), ("y", y)):
        _refuse_others(path, name, array)
    if (double := y.sum(axis=2) > 1).any():
        window, step = np.argwhere(double)[0]
        raise DataError(f"{path}: step {step} of window {window} has several labels; a step has one or none")
    return x.astype(np.bool_), y.astype(np.bool_)


def _refuse_others(path: Path, name: str, array: NDArray[Any]) -> None:
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise DataError(
            f"{path}: {name} of window {place[0]} has {array[place]:g} at step {place[1]}; events and labels are 0 or "
            "1, but for a mark of -1 in the last step"
        )
