"""Importers of published data sets of event cameras that have a file a sample, and of folders like theirs.

Sources: Orchard et al., Frontiers in Neuroscience 9, 2015 (N-MNIST, N-Caltech101); Serrano-Gotarredona and
Linares-Barranco, Frontiers in Neuroscience 9, 2015 (POKER-DVS); Li et al., Frontiers in Neuroscience 11, 2017
(CIFAR10-DVS); Sironi et al., CVPR 2018 (N-CARS); Bi et al., ICCV 2019 (ASL-DVS).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from neurozoo.data.importers.common import UNKNOWN
from neurozoo.data.importers.events.aedat import read_aedat2
from neurozoo.data.importers.events.arrays import TICK, read_mat_events, read_npy_events
from neurozoo.data.importers.events.blocks import Unordered
from neurozoo.data.importers.events.folders import EventFolder, Read, import_folder
from neurozoo.data.importers.events.packed import read_dat
from neurozoo.data.importers.events.readers import BIN, by_place, read_aedat, readers
from neurozoo.data.importers.splitting import Seed, Share
from neurozoo.data.store import Store

__all__ = [
    "CIFAR10_DVS",
    "N_MNIST",
    "SUITS",
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
SUITS = {"cl": "club", "di": "diamond", "he": "heart", "sp": "spade"}
Names = Sequence[str]
Size = Annotated[Sequence[Annotated[int, Field(ge=1, le=2**14)]], Field(min_length=2, max_length=2)]


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
    of = EventFolder("n-mnist", BIN, (2, 34, 34), N_MNIST, from_first=False)
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
    of = EventFolder("n-caltech101", BIN, (2, 180, 240), _N_CALTECH101, from_first=False)
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
    forms = {".aedat": by_place(read_aedat2), ".npy": read_npy_events("txyp", TICK)}
    of = EventFolder("poker-dvs", forms, (2, 35, 35), _POKER_DVS, renamed=SUITS)
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
    forms: dict[str, Read] = {".aedat": partial(read_aedat, turned=turned), ".aedat4": read_aedat}
    of = EventFolder("cifar10-dvs", forms, (2, 128, 128), CIFAR10_DVS, options={"turned": turned})
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
    of = EventFolder("n-cars", {".dat": by_place(read_dat)}, (2, *sensor), _N_CARS, options={"sensor": sensor})
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
    options = {"sensor": sensor, "columns": columns, "unit": unit}
    of = EventFolder("event-folder", readers(columns, unit), (2, *sensor), UNKNOWN, options=options)
    return import_folder(source, dest, of, classes=classes, valid=valid, test=test, seed=seed, unordered=unordered)
