"""Detect which importer takes a folder, an archive or a file of event recordings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.events.aedat import aedat_version
from neurozoo.data.importers.events.arrays import TICK
from neurozoo.data.importers.events.data_sets import SUITS
from neurozoo.data.importers.events.files import (
    EventFile,
    class_of,
    event_files,
    file_of,
    names_class,
    names_split,
    split_of,
)
from neurozoo.data.importers.events.packed import read_bin
from neurozoo.data.importers.events.readers import readers
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import is_litter

__all__ = ["detect_event_folder"]

_SENSORS = ((34, 34), (35, 35), (128, 128), (180, 240), (240, 304), (260, 346), (480, 640), (720, 1280))
"""Rows and columns of cameras in use, smallest first."""
_READERS = readers("txyp", TICK)
_LOOKED_AT = 2**28
"""Bytes of files that detection reads to see how large the sensor is."""

_UNITS = ("--columns", "txyp", "--unit", "1e-6")


def detect_event_folder(source: Path) -> DetectedFormat | None:
    """Return which of these importers takes a folder, an archive, or the folder of a file; None if none does."""
    if source.is_file() and source.suffix != ".zip":
        return _of_one_file(source)
    with event_files(source, *_READERS) as files:
        return _of_files(files)


def _of_files(files: Sequence[EventFile]) -> DetectedFormat | None:
    if not files:
        return None
    ending = Counter(file.name.suffix for file in files).most_common(1)[0][0]
    files = [file for file in files if file.name.suffix == ending]
    try:
        classes = {class_of(file) for file in files}
    except DataError:
        return None
    saw = (
        f"{len(files):,} files NAME{ending}"
        + "".join(f", {n:,} of {split}" for split, n in Counter(split_of(f.name)[0] for f in files).items() if split),
        f"{len(classes)} classes: {', '.join(sorted(classes)[:12])}{', ...' if len(classes) > 12 else ''}",
    )
    if ending in (".bin", ".bs2") and not _is_bin(files[0]):
        return None  # many formats go by this ending
    if found := _published(files, ending, set(classes)):
        return DetectedFormat(found[0], found[1], saw)
    try:
        sensor = _sensor(files, ending)
    except DataError:
        return None
    if ending in (".npy", ".npz", ".mat"):
        why = "a folder a class of arrays; say the order of the columns and the unit if they are others"
        return DetectedFormat("event-folder", why, saw, ("--sensor", sensor, *_UNITS))
    why = "recordings of an event camera in a folder a class"
    return DetectedFormat("event-folder", why, saw, ("--sensor", sensor))


def _published(files: Sequence[EventFile], ending: str, classes: set[str]) -> tuple[str, str] | None:
    """Return the published data set that files are of, and why; None if they are of none."""
    first = files[0]
    if ending in (".bin", ".bs2"):
        if classes <= set("0123456789"):
            return "n-mnist", "five bytes an event, in a folder a digit"
        return "n-caltech101", "five bytes an event, in a folder a class"
    if ending in (".aedat", ".aedat4") and re.match(r"cifar10_[a-z]+_\d+$", first.name.stem):
        return "cifar10-dvs", "AEDAT files named cifar10_CLASS_NUMBER"
    if classes <= {*SUITS, *SUITS.values()} and ending in (".aedat", ".npy"):
        return "poker-dvs", "card symbols of four suits"
    if ending == ".dat" and classes <= {"cars", "background"}:
        return "n-cars", "Prophesee's events of cars and background"
    if ending == ".mat" and classes <= set("abcdefghiklmnopqrstuvwxy"):
        return "asl-dvs", "MATLAB files in a folder a letter"
    return None


def _of_one_file(source: Path) -> DetectedFormat | None:
    if source.suffix not in (".bin", ".bs2", ".aedat", ".aedat4", ".dat"):
        return None
    with open_regular(source) as file:
        start = file.read(1000)
    if source.suffix.startswith(".aedat") and not aedat_version(start):
        return None
    path = source.absolute()
    folder = path.parent if names_class(path.stem) else path.parent.parent
    folder = folder.parent if names_split(folder.name) else folder
    # Files next to it and in the folders next to its own alone: the folders above may hold anything.
    near = (
        path.parent.glob(f"*{path.suffix}") if names_class(path.stem) else path.parent.parent.glob(f"*/*{path.suffix}")
    )
    kept = sorted(each for each in near if each.is_file() and not is_litter(each.name))
    files = [file_of(each, each.relative_to(folder)) for each in kept]
    found = _of_files(files) if len({file.name.parent for file in files}) > 1 or names_class(path.stem) else None
    why = f"{source.name} is a sample; the importer takes the folder of them"
    return found and replace(found, why=why, folder=folder)


def _is_bin(file: EventFile) -> bool:
    """Return whether a file's size and the times of its first events are those of a ``.bin``."""
    with file.opens() as opened:
        start = opened.read(1000)
    blocks = read_bin(BytesIO(start[: len(start) // 5 * 5]), file.where)
    return file.size % 5 == 0 and all((np.diff(block.t) >= 0).all() for block in blocks)


def _sensor(files: Sequence[EventFile], ending: str) -> str:
    """Return the smallest camera that holds the events of the first files."""
    rows = columns = size = 0
    for each in files:
        with each.opens() as file:
            for block in _READERS[ending](file, each):
                if len(block) and block.y is not None:
                    rows, columns = max(rows, int(block.y.max()) + 1), max(columns, int(block.x.max()) + 1)
        size += each.size
        if size > _LOOKED_AT:
            break
    fits = next(((h, w) for h, w in _SENSORS if h >= rows and w >= columns), (rows, columns))
    return f"{fits[0]},{fits[1]}"
