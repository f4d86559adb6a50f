"""Importers of published data sets of event cameras that have a file a sample, and of folders like theirs.

Sources: Orchard et al., Frontiers in Neuroscience 9, 2015 (N-MNIST, N-Caltech101); Serrano-Gotarredona and
Linares-Barranco, Frontiers in Neuroscience 9, 2015 (POKER-DVS); Li et al., Frontiers in Neuroscience 11, 2017
(CIFAR10-DVS); Sironi et al., CVPR 2018 (N-CARS); Bi et al., ICCV 2019 (ASL-DVS).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
from pydantic import Field

from neurozoo.data.importers.common import UNKNOWN
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.events.aedat import AEDAT2, AEDAT3, AEDAT4, aedat_version, read_aedat2, read_aedat3
from neurozoo.data.importers.events.aedat4 import read_aedat4
from neurozoo.data.importers.events.arrays import TICK, read_mat_events, read_npy_events, read_npz_events
from neurozoo.data.importers.events.blocks import Blocks, Unordered
from neurozoo.data.importers.events.files import EventFile, class_of, event_files, names_class, names_split, split_of
from neurozoo.data.importers.events.folders import EventFolder, Read, Seed, Share, import_folder
from neurozoo.data.importers.events.packed import read_bin, read_dat
from neurozoo.data.store import Store
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular

__all__ = [
    "CIFAR10_DVS",
    "N_MNIST",
    "detect_event_folder",
    "import_asl_dvs",
    "import_cifar10_dvs",
    "import_event_folder",
    "import_n_caltech101",
    "import_n_cars",
    "import_n_mnist",
    "import_poker_dvs",
]

N_MNIST = {
    "licence": "CC BY-SA 4.0: derived data and models under the same terms",
    "citation": "Orchard et al.: Converting static image datasets to spiking neuromorphic datasets using saccades, "
    "Frontiers in Neuroscience 9, 2015",
}
CIFAR10_DVS = {
    "licence": "CC BY 4.0",
    "citation": "Li et al.: CIFAR10-DVS: an event-stream dataset for object classification, Frontiers in Neuroscience "
    "11, 2017",
}
_N_CALTECH101 = {"licence": "CC BY 4.0", "citation": N_MNIST["citation"]}
_POKER_DVS = {
    "licence": "none stated",
    "citation": "Serrano-Gotarredona, Linares-Barranco: Poker-DVS and MNIST-DVS, Frontiers in Neuroscience 9, 2015",
}
_N_CARS = {
    "licence": "as stated by Prophesee",
    "citation": "Sironi et al.: HATS: histograms of averaged time surfaces for robust event-based object "
    "classification, CVPR 2018",
}
_ASL_DVS = {
    "licence": "as stated by its authors",
    "citation": "Bi et al.: Graph-based object classification for neuromorphic vision sensing, ICCV 2019",
}
_SUITS = {"cl": "club", "di": "diamond", "he": "heart", "sp": "spade"}
_SENSORS = ((34, 34), (35, 35), (128, 128), (180, 240), (240, 304), (260, 346), (480, 640), (720, 1280))
"""Rows and columns of cameras in use, smallest first."""
_ENDINGS = (".bin", ".bs2", ".aedat", ".aedat4", ".dat", ".mat", ".npy", ".npz")
_LOOKED_AT = 2**28
"""Bytes of files that detection reads to see how large the sensor is."""

Names = Sequence[str]
Size = Annotated[Sequence[Annotated[int, Field(ge=1, le=2**14)]], Field(min_length=2, max_length=2)]


def _named(reader: Callable[[BinaryIO, str], Blocks]) -> Read:
    return lambda file, of: reader(file, of.where)


def _read_aedat(file: BinaryIO, of: EventFile, *, turned: bool = False) -> Blocks:
    """Read an AEDAT file of any version."""
    start = file.read(len(AEDAT4))
    file.seek(0)
    version = aedat_version(start)
    if version == AEDAT2:
        return read_aedat2(file, of.where, turned=turned)
    if version in (AEDAT3, AEDAT4):
        return (read_aedat3 if version == AEDAT3 else read_aedat4)(file, of.where)
    raise DataError(f"{of.where} begins with {start!r}, which is no AEDAT of version 2.0, 3.1 or 4.0; remove the file")


_BIN = {".bin": _named(read_bin), ".bs2": _named(read_bin)}
_AEDAT = {".aedat": _read_aedat, ".aedat4": _read_aedat}


def import_n_mnist(
    source: Path,
    dest: Path,
    *,
    classes: Names = (),
    valid: Share = 0.0,
    test: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of N-MNIST: ``.bin`` files in ``Train/0..9`` and ``Test/0..9``, 34 x 34 pixels and polarity.

    Times are those of the files, in microseconds; the camera's three saccades begin at 0, 100 and 200 ms.

    Args:
        source: The folder, or one with ``Train.zip`` and ``Test.zip``.
        dest: The store's folder; new or empty.
        classes: Classes to import, in the order of the outputs; by default all.
        valid: Share of each class that is drawn from train for valid; 0 draws none.
        test: Share of each class that is drawn for test, if no folder names a split.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or is in no folder of a class.
    """
    of = EventFolder("n-mnist", _BIN, (2, 34, 34), N_MNIST, from_first=False)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def import_n_caltech101(
    source: Path,
    dest: Path,
    *,
    classes: Names = (),
    valid: Share = 0.1,
    test: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of N-Caltech101: ``.bin`` files in a folder a class, 180 x 240 pixels and polarity.

    The data has no splits; they are drawn for each class separately.

    Args:
        source: The folder of the classes' folders.
        dest: The store's folder; new or empty.
        classes: Classes to import, in the order of the outputs; by default all, the background too.
        valid: Share of each class that is drawn for valid; 0 draws none.
        test: The same for test.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or is in no folder of a class.
    """
    of = EventFolder("n-caltech101", _BIN, (2, 180, 240), _N_CALTECH101, from_first=False)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def import_poker_dvs(
    source: Path,
    dest: Path,
    *,
    valid: Share = 0.0,
    test: Share = 0.3,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of POKER-DVS, card symbols of four suits, 35 x 35 pixels and polarity.

    Times are microseconds from the first event. Both forms give the same events: bit 0 of an AEDAT address is 1 for
    darker, and becomes polarity 0.

    Args:
        source: The 131 AEDAT 2.0 files, whose names say the suit, or the npy files in ``pips_train/{cl,di,he,sp}`` and
            ``pips_test``, ``[n, 4]`` with the columns t, x, y, p.
        dest: The store's folder; new or empty.
        valid: Share of each suit that is drawn from train for valid; 0 draws none.
        test: The same for test, where no folder names a split.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or says no suit.
    """
    readers = {".aedat": _named(read_aedat2), ".npy": read_npy_events("txyp", TICK)}
    of = EventFolder("poker-dvs", readers, (2, 35, 35), _POKER_DVS, renamed=_SUITS)
    return import_folder(source, dest, of, valid=valid, test=test, seed=seed, unordered=unordered)


def import_cifar10_dvs(
    source: Path,
    dest: Path,
    *,
    classes: Names = (),
    turned: bool = True,
    valid: Share = 0.0,
    test: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of CIFAR10-DVS: AEDAT 2.0 in a folder or a zip archive a class, 128 x 128 pixels and polarity.

    Times are microseconds from the first event. The data has no splits; test is drawn for each class separately.

    Args:
        source: The folder with ``airplane.zip`` ... ``truck.zip``, or with the classes' folders.
        dest: The store's folder; new or empty.
        classes: Classes to import, in the order of the outputs; by default all.
        turned: Whether pictures of AEDAT 2.0 are turned as its readers usually do (x' = 127 - y, y' = 127 - x); else x
            and y are those of the addresses. Files of AEDAT 4.0 are never turned.
        valid: Share of each class that is drawn from train for valid; 0 draws none.
        test: The same for test.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or is of no class.
    """
    readers: dict[str, Read] = {".aedat": partial(_read_aedat, turned=turned), ".aedat4": _read_aedat}
    of = EventFolder("cifar10-dvs", readers, (2, 128, 128), CIFAR10_DVS, options={"turned": turned})
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def import_n_cars(
    source: Path,
    dest: Path,
    *,
    sensor: Size = (100, 120),
    valid: Share = 0.0,
    test: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of N-CARS: Prophesee's ``.dat`` in ``n-cars_train/{cars,background}`` and ``n-cars_test``.

    Times are microseconds from the first event.

    Args:
        source: The folder of both.
        dest: The store's folder; new or empty.
        sensor: Rows and columns; samples are cut-outs of up to 100 x 120 pixels.
        valid: Share of each class that is drawn from train for valid; 0 draws none.
        test: The same for test, where no folder names a split.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or is in no folder of a class.
    """
    of = EventFolder("n-cars", {".dat": _named(read_dat)}, (2, *sensor), _N_CARS, options={"sensor": list(sensor)})
    return import_folder(source, dest, of, valid=valid, test=test, seed=seed, unordered=unordered)


def import_asl_dvs(
    source: Path,
    dest: Path,
    *,
    classes: Names = (),
    valid: Share = 0.1,
    test: Share = 0.2,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of ASL-DVS: ``.mat`` in a folder a letter, 180 x 240 pixels and polarity.

    Times are microseconds from the first event. In the files y counts from below; here from above. The data has no
    splits; they are drawn for each letter separately.

    Args:
        source: The folder of the letters' folders; the variables are ``ts``, ``x``, ``y`` and ``pol``.
        dest: The store's folder; new or empty.
        classes: Letters to import, in the order of the outputs; by default all.
        valid: Share of each letter that is drawn for valid; 0 draws none.
        test: The same for test.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, has an event outside of the sensor, or is in no folder of a class.
    """
    of = EventFolder("asl-dvs", {".mat": read_mat_events(180, TICK)}, (2, 180, 240), _ASL_DVS)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def import_event_folder(
    source: Path,
    dest: Path,
    *,
    sensor: Size,
    classes: Names = (),
    columns: Annotated[str, Field(pattern=r"^[txyp]{3,4}$")] = "txyp",
    unit: Annotated[float, Field(gt=0, le=1)] = TICK,
    valid: Share = 0.1,
    test: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of recordings of an event camera in a folder a class, of one format or of several.

    Formats go by the ending: ``.aedat`` (2.0 of a DVS128, 3.1), ``.aedat4``, ``.dat`` (Prophesee), ``.bin`` and
    ``.bs2`` (N-MNIST's), ``.mat`` with ``ts``, ``x``, ``y``, ``pol``, and ``.npy`` and ``.npz`` with structured arrays,
    arrays by name, or ``[n, 4]``. Times count from a recording's first event.

    Args:
        source: A folder ``SPLIT/CLASS/NAME`` or ``CLASS/NAME``; folders may be zip archives.
        dest: The store's folder; new or empty.
        sensor: Rows and columns of the camera.
        classes: Classes to import, in the order of the outputs; by default all.
        columns: The order of the columns of plain npy arrays.
        unit: Seconds of one unit of time in npy, npz and mat files; the store has microseconds.
        valid: Share of each class that is drawn for valid where there is no such folder; 0 draws none.
        test: The same for test, where no folder names a split.
        seed: Seed of what is drawn.
        unordered: ``refuse`` a file whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is damaged, of another format, has an event outside of the sensor, or is of no class.
    """
    arrays = {".npy": read_npy_events(columns, unit), ".npz": read_npz_events(columns, unit)}
    readers = {**_BIN, **_AEDAT, ".dat": _named(read_dat), ".mat": read_mat_events(None, unit), **arrays}
    options = {"sensor": list(sensor), "columns": columns, "unit": unit}
    of = EventFolder("event-folder", readers, (2, *sensor), UNKNOWN, options=options)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)


def detect_event_folder(source: Path) -> DetectedFormat | None:
    """Return which of these importers takes a folder, an archive, or the folder of a file; None if none does."""
    if source.is_file() and source.suffix != ".zip":
        return _of_one_file(source)
    with event_files(source, *_ENDINGS) as files:
        if not files:
            return None
        ending = Counter(file.name.suffix for file in files).most_common(1)[0][0]
        files = [file for file in files if file.name.suffix == ending]
        try:
            classes = Counter(class_of(file) for file in files)
        except DataError:
            return None
        saw = (
            f"{len(files):,} files NAME{ending}"
            + "".join(
                f", {n:,} of {split}" for split, n in Counter(split_of(f.name)[0] for f in files).items() if split
            ),
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


_UNITS = ("--columns", "txyp", "--unit", "1e-6")


def _published(files: Sequence[EventFile], ending: str, classes: set[str]) -> tuple[str, str] | None:
    """Return the published data set that files are of, and why; None if they are of none."""
    first = files[0]
    if ending in (".bin", ".bs2"):
        if classes <= set("0123456789"):
            return "n-mnist", "five bytes an event, in a folder a digit"
        return "n-caltech101", "five bytes an event, in a folder a class"
    if ending in (".aedat", ".aedat4") and re.match(r"cifar10_[a-z]+_\d+$", first.name.stem):
        return "cifar10-dvs", "AEDAT files named cifar10_CLASS_NUMBER"
    if classes <= {*_SUITS, *_SUITS.values()} and ending in (".aedat", ".npy"):
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
    folder = path.parent if names_class(path.stem) else path.parents[1]
    folder = folder.parent if names_split(folder.name) else folder
    found = detect_event_folder(folder)
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
    readers = {**_BIN, **_AEDAT, ".dat": _named(read_dat), ".mat": read_mat_events(None, TICK)}
    readers |= {".npy": read_npy_events("txyp", TICK), ".npz": read_npz_events("txyp", TICK)}
    rows = columns = size = 0
    for each in files:
        with each.opens() as file:
            for block in readers[ending](file, each):
                if len(block) and block.y is not None:
                    rows, columns = max(rows, int(block.y.max()) + 1), max(columns, int(block.x.max()) + 1)
        size += each.size
        if size > _LOOKED_AT:
            break
    fits = next(((h, w) for h, w in _SENSORS if h >= rows and w >= columns), (rows, columns))
    return f"{fits[0]},{fits[1]}"
