"""Importer of the Spiking Heidelberg Digits, Spiking Speech Commands, and HDF5 files of their layout.

Source: Cramer et al.: The Heidelberg spiking data sets for the systematic evaluation of spiking neural networks, IEEE
Transactions on Neural Networks and Learning Systems 33, 2022.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.data.importers.common import SPLITS, UNKNOWN, files_in, origin_of
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.events.arrays import TICK
from neurozoo.data.importers.events.blocks import Events, Sample, Unordered, event_rows, write_events
from neurozoo.data.importers.splitting import Seed, Share, draw_by_class, drawn_text, hold_out_groups
from neurozoo.data.store import Store
from neurozoo.data.untrusted.limits import Limits
from neurozoo.data.untrusted.process import read_hdf5
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import as_texts

__all__ = ["HEIDELBERG", "detect_shd", "import_shd", "read_shd"]

HEIDELBERG = {
    "licence": "CC BY 4.0",
    "citation": "Cramer et al.: The Heidelberg spiking data sets for the systematic evaluation of spiking neural "
    "networks, IEEE Transactions on Neural Networks and Learning Systems 33, 2022",
}
_ASC = {
    "licence": "CC BY 4.0",
    "citation": "Ghandoura, Hjabo, Al Dakkak: Building and benchmarking an Arabic speech commands dataset for small-"
    "footprint keyword spotting, Engineering Applications of Artificial Intelligence 102, 2021",
}
_TERMS = {"shd": HEIDELBERG, "ssc": HEIDELBERG, "asc": _ASC}
_SIGNAL = "spikes"
_FILE = re.compile(r"(?P<name>.+)_(?P<split>train|valid|test)\.h5(?P<packed>\.gz|\.zip)?$")
_ENDINGS = (".h5", ".h5.gz", ".h5.zip")
_PIECE = 2**20
_FRAME = 0.01
"""Seconds of the grid that is looked for; float16 holds some of its multiples a little too small."""


@dataclass(frozen=True)
class _Words:
    """One file: its events by sample, and what belongs to each.

    Attributes:
        path: The file.
        times: Seconds, one array a sample.
        units: Channels, one array a sample.
        labels: ``[N]``.
        keys: Names of the classes; empty if the file has none.
        speakers: ``[N]``, or None.
        split: The file's split.
    """

    path: Path
    times: Sequence[NDArray[Any]]
    units: Sequence[NDArray[Any]]
    labels: NDArray[np.int64]
    keys: tuple[str, ...]
    speakers: NDArray[np.int64] | None
    split: str


def import_shd(
    source: Path,
    dest: Path,
    *,
    name: str = "",
    units: Annotated[int, Field(ge=0, le=2**20)] = 0,
    tick: Annotated[float, Field(ge=0, le=1)] = 0.0,
    valid: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of SHD, SSC or files of their layout, with the signal ``spikes`` and a class a word.

    Times are float16 seconds, which are made float64 before they become ticks. Where all of them are multiples of 10 ms
    as float16 holds them, the tick is 10 ms, so that no event falls into the frame before; else it is a microsecond.
    A sample's id is ``speakerS/SPLIT-ROW``, or ``SPLIT-ROW`` where the file names no speakers.

    A packed file is unpacked into the temporary folder, its events are copied there once more.

    Args:
        source: A folder with ``NAME_train.h5`` and, if there are, ``NAME_valid.h5`` and ``NAME_test.h5``; each may be
            packed as ``.h5.gz`` or ``.h5.zip``.
        dest: The store's folder; new or empty.
        name: Which files, ``shd`` or ``ssc``, if the folder has several.
        units: Number of channels; 0 for the largest channel of all splits plus 1.
        tick: Seconds of a tick; 0 chooses as above.
        valid: Where there is no valid file: the share of train that is held out, by whole speakers, or at random for
            each class where the files name none. 0 holds out none.
        seed: Seed of what is held out.
        unordered: ``refuse`` a sample whose times fall, or ``sort`` its events.

    Raises:
        DataError: A file is missing or damaged, of another layout, or differs from the others in its classes; or a
            sample's times and channels make no sense.
    """
    files = _files(source, name)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        words = {split: read_shd(path, Path(folder), split) for split, path in files.items()}
        keys = _keys(words)
        count = units or 1 + max(
            (int(each.max()) for of in words.values() for each in of.units if len(each)), default=0
        )
        seconds = tick or (_FRAME if all(map(_on_grid, words.values())) else TICK)
        held, shares, by = _held_out(words, valid, seed, keys)
        terms = _TERMS.get(next(iter(files.values())).name.partition("_")[0], UNKNOWN)
        origin = origin_of("shd", source.name, terms, units=count, tick=seconds, valid=valid, seed=seed)
        origin |= {"splits": drawn_text(shares, seed, by, files)}
        rows = {split: (of, np.arange(len(of.labels))) for split, of in words.items()}
        if held is not None:
            train = words["train"]
            parts = {"train": (train, np.flatnonzero(~held)), "valid": (train, np.flatnonzero(held))}
            rows = parts | {split: each for split, each in rows.items() if split != "train"}
        samples = {
            split: _samples(of, places.tolist(), count, seconds, unordered) for split, (of, places) in rows.items()
        }
        return write_events(dest, (count,), seconds, keys, origin, samples, _SIGNAL)


def detect_shd(source: Path) -> DetectedFormat | None:
    """Return whether a folder, or the folder of a file, has files of this layout by name and, if unpacked, content."""
    folder = source if source.is_dir() else source.absolute().parent
    if not source.is_dir() and not _FILE.match(source.name):
        return None
    found = [path for path in files_in(folder, *_ENDINGS) if _FILE.match(path.name)]
    trains = [path for path in found if _FILE.match(path.name)["split"] == "train"]  # type: ignore[index]
    if not trains or not (trains[0].name.startswith(("shd_", "ssc_")) or _has_layout(trains[0])):
        return None
    names = sorted({_FILE.match(path.name)["name"] for path in trains})  # type: ignore[index]
    options = ("--name", names[0]) if len(names) > 1 else ()
    why = "HDF5 with spikes/times, spikes/units and labels, a file a split"
    return DetectedFormat("shd", why, tuple(path.name for path in found), options, folder=folder)


def _has_layout(path: Path) -> bool:
    """Return whether a file holds the groups of the layout; their names lie in its first bytes or its last."""
    try:
        with _unpacked(path, path.suffix) as file:
            start = file.read(2 * _PIECE)
    except DataError:
        return False
    return start.startswith(b"\x89HDF") and all(name in start for name in (b"spikes\0", b"labels\0"))


def _files(source: Path, name: str) -> dict[str, Path]:
    """Return the file of each split; of several forms the least packed."""
    by_name: dict[str, dict[str, Path]] = {}
    for path in sorted(files_in(source, *_ENDINGS), key=lambda path: -len(path.suffixes)):
        if found := _FILE.match(path.name):
            by_name.setdefault(found["name"], {})[found["split"]] = path
    names = [each for each, files in by_name.items() if "train" in files]
    if not names or (name and name not in names):
        listed = ", ".join(sorted(path.name for path in files_in(source, "")[:12])) or "nothing"
        raise DataError(f"{source}: there is no {name or 'NAME'}_train.h5, .h5.gz or .h5.zip; it holds {listed}")
    if len(names) > 1 and not name:
        raise DataError(f"{source} has files of {', '.join(sorted(names))}; choose with --name {sorted(names)[0]}")
    files = by_name[name or names[0]]
    return {split: files[split] for split in SPLITS if split in files}


def read_shd(path: Path, folder: Path, split: str = "", *, packed: str | None = None) -> _Words:
    """Read a file, which is unpacked into ``folder`` first if it has to be.

    Args:
        path: The file.
        folder: A temporary folder.
        split: The file's split.
        packed: How it is packed, ``.gz``, ``.zip`` or empty; by default as its name ends.

    Raises:
        DataError: It is damaged or of another layout; or is larger than the limits allow.
    """
    plain, packed = path, packed if packed is not None else path.suffix.removesuffix(".h5")
    if packed:
        plain = folder / f"{path.name}.h5"
        with _unpacked(path, packed) as unpacked, open(plain, "wb") as file:
            _copy(unpacked, file, path)
    try:
        content = read_hdf5(plain, ragged=True)
    except DataError as error:
        raise DataError(str(error).replace(str(plain), str(path))) from error
    return _words(content, path, split)


@contextmanager
def _unpacked(path: Path, packed: str) -> Iterator[IO[bytes]]:
    """Open the HDF5 file that is in a file.

    Raises:
        DataError: The archive is damaged, here or while it is read, or has not one HDF5 file.
    """
    try:
        with open_regular(path) as file:
            if packed == ".gz":
                with gzip.open(file) as unpacked:
                    yield unpacked  # type: ignore[misc]
            elif packed == ".zip":
                with zipfile.ZipFile(file) as archive:
                    members = [info for info in archive.infolist() if info.filename.endswith(".h5")]
                    if len(members) != 1:
                        raise DataError(f"{path} holds {len(members)} files .h5; it must hold one")
                    with archive.open(members[0]) as unpacked:
                        yield unpacked
            else:
                yield file
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} cannot be unpacked ({error}); it is damaged: download it again") from error


def _copy(packed: IO[bytes], file: IO[bytes], path: Path) -> None:
    left = Limits().content(path.stat().st_size)
    while piece := packed.read(_PIECE):
        left -= len(piece)
        if left < 0:
            raise DataError(
                f"{path} unpacks to more than is allowed; if you trust it, set NEUROZOO_READ_CONTENT_GIB to what it "
                "needs"
            )
        file.write(piece)


def _words(content: Mapping[str, Any], path: Path, split: str) -> _Words:
    spikes, extra = content.get("spikes"), content.get("extra")
    times, units = (spikes.get(key) if isinstance(spikes, Mapping) else None for key in ("times", "units"))
    labels = _whole(content.get("labels"), f"{path}: labels")
    if labels is None or not isinstance(times, list) or not isinstance(units, list):
        listed = ", ".join(content) or "nothing"
        raise DataError(
            f"{path}: it needs labels, and spikes/times and spikes/units with a row of its own length for each sample; "
            f"it holds {listed}"
        )
    extra = extra if isinstance(extra, Mapping) else {}
    speakers = _whole(extra.get("speaker"), f"{path}: extra/speaker")
    counts = {"labels": len(labels), "spikes/times": len(times), "spikes/units": len(units)}
    counts |= {} if speakers is None else {"extra/speaker": len(speakers)}
    if len(set(counts.values())) > 1 or not len(labels):
        listed = ", ".join(f"{count} {key}" for key, count in counts.items())
        raise DataError(f"{path}: it has {listed}; a sample has one of each")
    keys = extra.get("keys")
    names = () if keys is None else tuple(as_texts(keys, f"{path}: extra/keys"))
    if labels.min() < 0 or (names and labels.max() >= len(names)):
        row = int(((labels < 0) | (labels >= (len(names) or labels.max() + 1))).argmax())
        raise DataError(f"{path}: the label of sample {row} is {labels[row]}; there are {len(names)} classes")
    if len({*names}) < len(names):
        raise DataError(f"{path}: extra/keys has a name twice: {', '.join(names)[:200]}")
    for row, (t, unit) in enumerate(zip(times, units, strict=True)):
        if len(t) != len(unit) or t.dtype.kind not in "fiu" or unit.dtype.kind not in "iu":
            raise DataError(
                f"{path}: sample {row} has {len(t)} times of {t.dtype} and {len(unit)} units of {unit.dtype}; an event "
                "has a time in seconds and a whole unit"
            )
    return _Words(path, times, units, labels, names, speakers, split)


def _whole(values: Any, where: str) -> NDArray[np.int64] | None:
    if values is None:
        return None
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise DataError(f"{where} is no list of whole numbers; give one for each sample")
    return values.astype(np.int64)


def _keys(words: Mapping[str, _Words]) -> list[str]:
    """Return the names of the classes, which all files must share."""
    first = next(iter(words.values()))
    for of in words.values():
        if of.keys != first.keys:
            raise DataError(f"{of.path} has other classes than {first.path}: extra/keys must be the same")
    return list(first.keys) or [str(label) for label in range(1 + max(int(of.labels.max()) for of in words.values()))]


def _seconds(t: NDArray[Any]) -> NDArray[np.float64]:
    """Widen times; a float16 times a number of ticks would overflow."""
    return t.astype(np.float64)


def _on_grid(of: _Words) -> bool:
    """Return whether all times are multiples of 10 ms, as their dtype holds them."""
    return all(
        t.dtype.kind == "f" and bool((t == (np.rint(_seconds(t) / _FRAME) * _FRAME).astype(t.dtype)).all())
        for t in of.times
    )


def _samples(of: _Words, rows: Sequence[int], units: int, tick: float, unordered: Unordered) -> Iterator[Sample]:
    for row in rows:
        name = f"{of.split}-{row}"
        id = name if of.speakers is None else f"speaker{of.speakers[row]}/{name}"
        yield _rows(of, row, units, tick, unordered), int(of.labels[row]), id


def _rows(of: _Words, row: int, units: int, tick: float, unordered: Unordered) -> NDArray[np.int32]:
    where, t = f"{of.path}: sample {row}", _seconds(of.times[row])
    wrong = ~((t >= 0) & (t / tick < 2**31))
    if wrong.any():
        at = int(wrong.argmax())
        raise DataError(
            f"{where}: the time of event {at} is {t[at]}; times are seconds from 0, below "
            "2**31 ticks: give a larger --tick, or another file"
        )
    events = Events(np.rint(t / tick).astype(np.int64), of.units[row].astype(np.int64))
    return event_rows([events], (units,), where, from_first=False, unordered=unordered)


def _held_out(
    words: Mapping[str, _Words], valid: float, seed: int, keys: Sequence[str]
) -> tuple[NDArray[np.bool_] | None, dict[str, float], str]:
    """Return which samples of train become valid (None for none), with what to say of it."""
    train = words["train"]
    if not valid or "valid" in words:
        return None, {}, ""
    if train.speakers is not None and len(np.unique(train.speakers)) > 1:
        return hold_out_groups(train.speakers, valid, seed), {"valid": valid}, "speaker"
    splits = draw_by_class(train.labels, {"valid": valid}, seed, keys, train.path)
    return np.array(splits) == "valid", {"valid": valid}, "class, as no speakers are named"
