"""Importers of two data sets of touch: ST-MNIST and Ev-Objects.

Sources: See et al.: ST-MNIST - the spiking tactile MNIST neuromorphic dataset, arXiv 2005.04319, 2020; Gu et al.:
TactileSGNet: a spiking graph neural network for event-based tactile object recognition, IROS 2020.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from pydantic import Field

from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.events.arrays import ticks
from neurozoo.data.importers.events.blocks import Events, Unordered
from neurozoo.data.importers.events.files import EventFile, event_files, split_of
from neurozoo.data.importers.events.folders import EventFolder, import_folder
from neurozoo.data.importers.splitting import Seed, Share
from neurozoo.data.store import Store
from neurozoo.data.untrusted.mat import parse_mat
from neurozoo.data.untrusted.npz import read_npy
from neurozoo.errors import DataError

__all__ = ["detect_tactile", "import_ev_objects", "import_st_mnist"]

_ST_MNIST = {
    "licence": "as stated by its authors",
    "citation": "See et al.: ST-MNIST - the spiking tactile MNIST neuromorphic dataset, arXiv 2005.04319, 2020",
}
_EV_OBJECTS = {
    "licence": "none stated",
    "citation": "Gu et al.: TactileSGNet: a spiking graph neural network for event-based tactile object recognition, "
    "IROS 2020",
}
_SIDE = 10
"""ST-MNIST's taxels lie in a square of 10 x 10, numbered by rows."""
_TAXELS = 39
_STEP = 0.02
"""Seconds of a step of Ev-Objects."""
_OBJECT = re.compile(r"sample_\d+_label_\d+$")


def import_st_mnist(
    source: Path,
    dest: Path,
    *,
    classes: Sequence[str] = (),
    valid: Share = 0.1,
    test: Share = 0.2,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of ST-MNIST: digits written on 10 x 10 taxels, ``.mat`` in a folder a digit.

    The variable ``spiketrain`` ``[101, T]`` has a taxel's events in each of its first 100 rows, +1 or -1, and the times
    in seconds in the last. Taxel i is at row ``i // 10`` and column ``i % 10``; -1 becomes polarity 0. Times are
    microseconds from the first event. The data has no splits; they are drawn for each digit separately.

    Args:
        source: The folder of the digits' folders.
        dest: The store's folder; new or empty.
        classes: Digits to import, in the order of the outputs; by default all.
        valid: Share of each digit that is drawn for valid; 0 draws none.
        test: The same for test.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, of another layout, or is in no folder of a class.
    """
    of = EventFolder("st-mnist", {".mat": _read_spiketrain}, (2, _SIDE, _SIDE), _ST_MNIST)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def import_ev_objects(source: Path, dest: Path, *, valid: Annotated[int, Field(ge=0)] = 3) -> Store:
    """Make a store of Ev-Objects: 36 objects grasped by a finger of 39 taxels, npy files ``sample_I_label_K.npy``.

    A file is ``[39, 2, T]`` with 0 or 1 at each step of 20 ms, the tick. The channel is ``2 taxel + polarity``, 78 in
    all. Valid is the last samples of each object in ``train``, by their numbers.

    Args:
        source: ``Ev-Objects.zip``, or the folder with ``train`` and ``test``.
        dest: The store's folder; new or empty.
        valid: How many samples of each object become valid; 0 for none.

    Raises:
        DataError: A file is damaged, of another shape, or has other values; or an object has too few.
    """
    of = EventFolder("ev-objects", {".npy": _read_steps}, (2 * _TAXELS,), _EV_OBJECTS, from_first=False, tick=_STEP)
    return import_folder(source, dest, of, last=valid)


def detect_tactile(source: Path) -> DetectedFormat | None:
    """Return which of the two a folder or archive is of."""
    if source.is_file() and source.suffix != ".zip":
        return None
    with event_files(source, ".npy", ".mat") as files:
        objects = [file for file in files if _OBJECT.match(file.name.stem) and file.name.suffix == ".npy"]
        if objects:
            count = len({file.name.stem.rpartition("_")[2] for file in objects})
            splits = sorted({split_of(file.name)[0] for file in objects} - {""})
            saw = (f"{len(objects)} files sample_I_label_K.npy, {count} labels, of {', '.join(splits) or 'no split'}",)
            return DetectedFormat("ev-objects", "npy files [39, 2, T] named sample_I_label_K", saw)
        matlab = [file for file in files if file.name.suffix == ".mat" and file.size < 2**26]
        for each in matlab[:1]:
            with each.opens() as file:
                if "spiketrain" in parse_mat(file.read(), each.where, ("spiketrain",)):
                    saw = (f"{len(matlab)} files .mat with spiketrain [101, T]",)
                    return DetectedFormat("st-mnist", "MATLAB files with spiketrain", saw)
    return None


def _read_spiketrain(file: BinaryIO, of: EventFile) -> Iterator[Events]:
    train = parse_mat(file.read(), of.where, ("spiketrain",)).get("spiketrain")
    rows = _SIDE * _SIDE
    if train is None or train.shape[0] != rows + 1 or train.ndim != 2:
        shape = "no spiketrain" if train is None else f"spiketrain {list(train.shape)}"
        raise DataError(f"{of.where}: it has {shape}; spiketrain [{rows + 1}, T] is needed")
    spikes = train[:rows].T
    if not np.isin(spikes, (-1, 0, 1)).all():
        raise DataError(f"{of.where}: spiketrain has values besides -1, 0 and 1 in its first {rows} rows")
    step, taxel = np.nonzero(spikes)
    times = ticks(train[rows], 1.0, of.where)
    yield Events(times[step], taxel % _SIDE, taxel // _SIDE, (spikes[step, taxel] > 0).astype(np.int64))


def _read_steps(file: BinaryIO, of: EventFile) -> Iterator[Events]:
    array = read_npy(file, of.size, of.where)
    if array.ndim != 3 or array.shape[:2] != (_TAXELS, 2) or array.dtype.kind not in "fiub":
        raise DataError(f"{of.where}: {array.dtype} of shape {list(array.shape)}; [{_TAXELS}, 2, T] is needed")
    if not np.isin(array, (0, 1)).all():
        raise DataError(f"{of.where}: it has values besides 0 and 1")
    step, taxel, polarity = np.nonzero(array.transpose(2, 0, 1))
    yield Events(step.astype(np.int64), 2 * taxel + polarity)
