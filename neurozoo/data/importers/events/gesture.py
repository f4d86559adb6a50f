"""Importer of DVS128 Gesture: eleven gestures of 29 people, recordings with a table of labels, or cut by others.

Source: Amir et al.: A low power, fully event-based gesture recognition system, CVPR 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import SPLITS, files_in, origin_of
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.events.aedat import read_aedat3
from neurozoo.data.importers.events.arrays import TICK, events_of
from neurozoo.data.importers.events.blocks import (
    MOST_EVENTS,
    Blocks,
    Events,
    Sample,
    Unordered,
    event_rows,
    write_events,
)
from neurozoo.data.importers.events.files import split_of
from neurozoo.data.importers.splitting import Seed, Share, drawn_text, hold_out_groups, natural
from neurozoo.data.store import Store
from neurozoo.data.untrusted.npz import read_npy
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import read_text

__all__ = ["DVS128_GESTURE", "GESTURES", "detect_gesture", "import_dvs128_gesture"]

GESTURES = (
    "hand_clapping",
    "right_hand_wave",
    "left_hand_wave",
    "right_arm_clockwise",
    "right_arm_counter_clockwise",
    "left_arm_clockwise",
    "left_arm_counter_clockwise",
    "arm_roll",
    "air_drums",
    "air_guitar",
    "other_gestures",
)
"""The classes; the tables count them from 1, the repack from 0."""
DVS128_GESTURE = {
    "licence": "CC BY 4.0",
    "citation": "Amir et al.: A low power, fully event-based gesture recognition system, CVPR 2017",
}
_SENSOR = (2, 128, 128)
_HEADER = ["class", "startTime_usec", "endTime_usec"]
_LISTS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
_FIRST_TEST_USER = 24
_USER, _TRIAL = re.compile(r"user(\d+)_"), re.compile(r"user\d+_[\w-]+")
_MOST_TRIALS, _MOST_HELD = 1000, 4 * MOST_EVENTS
"""Rows of a table, and events of a recording's trials together."""
_MILLISECOND = 1e-3


@dataclass(frozen=True)
class _Recording:
    """A recording with its table, or a person's folder of the repack."""

    path: Path
    split: str
    user: int


@dataclass(frozen=True)
class _Trial:
    label: int
    start: int
    end: int
    where: str


def import_dvs128_gesture(
    source: Path,
    dest: Path,
    *,
    valid: Share = 0.1,
    seed: Seed = 0,
    unordered: Unordered = "refuse",
) -> Store:
    """Make a store of DVS128 Gesture, 128 x 128 pixels and polarity; times count microseconds from the first event.

    Two forms are known. The original: ``userNN_LIGHT.aedat`` (AEDAT 3.1) with ``userNN_LIGHT_labels.csv``. Each row of
    a table is a sample, of the events from its start to before its end: 1,176 of train and 288 of test by this rule,
    while the paper counts 1,342. Ends may lie after the next start; an event is then in both samples. The repack:
    ``ibmGestureTrain/userNN_LIGHT/C.npy`` with the columns x, y, p, t in milliseconds: 1,077 and 264, cut by its
    makers. The store's origin says which it was.

    The lists ``trials_to_train.txt`` and ``trials_to_test.txt`` decide of the splits; without them users from 24 on are
    test. A sample's id begins with the recording's name.

    Args:
        source: The folder of either form.
        dest: The store's folder; new or empty.
        valid: Share of train that is held out for valid, by whole people; 0 holds out none.
        seed: Seed of the people who are held out.
        unordered: ``refuse`` a sample whose times fall, or ``sort`` its events.

    Raises:
        DataError: A recording or table is missing or damaged, a row is wrong or has no events, or an event is outside
            of the sensor.
    """
    recordings, rule = _recordings(source)
    samples: dict[str, list[_Recording]] = {split: [r for r in recordings if r.split == split] for split in SPLITS}
    shares = {"valid": valid} if valid and not samples["valid"] else {}
    if shares and samples["train"]:
        users = np.array([recording.user for recording in samples["train"]])
        held = hold_out_groups(users, valid, seed)
        pairs = list(zip(samples["train"], held, strict=True))
        samples["train"], samples["valid"] = [r for r, out in pairs if not out], [r for r, out in pairs if out]
    origin = origin_of("dvs128-gesture", source.name, DVS128_GESTURE, valid=valid, seed=seed, unordered=unordered)
    there = {recording.split for recording in recordings}
    origin |= {"splits": drawn_text(shares, seed, "person", there), "samples": rule}
    rows = {
        split: (sample for recording in found for sample in _samples(recording, unordered))
        for split, found in samples.items()
    }
    return write_events(dest, _SENSOR, TICK, GESTURES, origin, rows)


def detect_gesture(source: Path) -> DetectedFormat | None:
    """Return whether a folder, or the folder of a recording, is of DVS128 Gesture."""
    folder = source if source.is_dir() else source.absolute().parent
    if not source.is_dir() and not source.name.endswith((".aedat", "_labels.csv")):
        return None
    tables = files_in(folder, "_labels.csv", below=source.is_dir())
    if any(path.with_name(f"{path.name.removesuffix('_labels.csv')}.aedat").is_file() for path in tables):
        saw = (f"{len(tables)} recordings userNN_LIGHT.aedat with their tables",)
        return DetectedFormat("dvs128-gesture", "AEDAT 3.1 with userNN_LIGHT_labels.csv", saw, folder=folder)
    if source.is_dir() and (cut := _repacked(source)):
        people = len({path.parent.name for path in cut})
        saw = (f"{len(cut)} samples userNN_LIGHT/C.npy of {people} recordings",)
        return DetectedFormat("dvs128-gesture", "npy files in ibmGestureTrain and ibmGestureTest", saw)
    return None


def _repacked(source: Path) -> list[Path]:
    return [
        path
        for path in files_in(source, ".npy", below=True)
        if _USER.match(path.parent.name) and path.stem.isdecimal() and int(path.stem) < len(GESTURES)
    ]


def _recordings(source: Path) -> tuple[list[_Recording], str]:
    """Return the recordings in the order of their names, and the rule by which samples are cut."""
    tables = files_in(source, "_labels.csv", below=True)
    if tables:
        folder = tables[0].parent
        names = [path.name.removesuffix("_labels.csv") for path in tables]
        splits = _listed(folder) or {name: "train" if _user(name) < _FIRST_TEST_USER else "test" for name in names}
        rule = "each row of a recording's table, start <= time < end"
        left = len(set(names) - set(splits))
        if left:
            rule += f"; {left} recordings are in no list and were left out"
        paths = [folder / f"{name}.aedat" for name in splits]
        found = [_Recording(path, splits[path.stem], _user(path.stem)) for path in paths]
    else:
        cut = sorted({path.parent for path in _repacked(source)})
        if not cut:
            raise DataError(
                f"{source} holds neither userNN_LIGHT_labels.csv nor ibmGestureTrain/userNN_LIGHT/C.npy; give the "
                "folder of DVS128 Gesture"
            )
        rule = "as cut by the makers of the npy files"
        found = []
        for folder in cut:
            split = split_of(PurePosixPath((folder / "0.npy").relative_to(source.parent).as_posix()))[0]
            user = _user(folder.name)
            found.append(_Recording(folder, split or ("train" if user < _FIRST_TEST_USER else "test"), user))
    return sorted(found, key=lambda recording: natural(recording.path.name)), rule


def _user(name: str) -> int:
    found = _USER.match(name)
    if not found:
        raise DataError(f"{name}: the name of a recording is userNN_LIGHT; rename or remove it")
    return int(found[1])


def _listed(folder: Path) -> dict[str, str]:
    """Return the split of each recording by the lists; empty where there are none."""
    splits: dict[str, str] = {}
    for split, name in _LISTS.items():
        if not (folder / name).exists():
            continue
        for number, line in enumerate(read_text(folder / name).split("\n"), 1):
            trial = line.strip().removesuffix(".aedat")
            if not trial:
                continue
            if splits.setdefault(trial, split) != split or not _TRIAL.fullmatch(trial):
                raise DataError(
                    f"{folder / name}:{number}: {trial[:80]!r} is in both lists, or is no name userNN_LIGHT.aedat; "
                    "correct the line"
                )
            if not (folder / f"{trial}.aedat").is_file() or not (folder / f"{trial}_labels.csv").is_file():
                raise DataError(
                    f"{folder / name}:{number}: {trial}.aedat or its table is missing; unpack it, or remove the line"
                )
    return splits


def _samples(recording: _Recording, unordered: Unordered) -> Iterator[Sample]:
    """Yield the rows, class and id of each sample of a recording."""
    if recording.path.is_dir():
        for path in sorted(recording.path.glob("*.npy"), key=lambda path: natural(path.name)):
            if path.stem.isdecimal() and int(path.stem) < len(GESTURES):
                yield (
                    _rows([_repacked_events(path)], str(path), unordered),
                    int(path.stem),
                    f"{path.parent.name}/{path.stem}",
                )
        return
    trials = _read_table(recording.path.with_name(f"{recording.path.stem}_labels.csv"))
    with open_regular(recording.path) as file:
        try:
            parts = _cut(read_aedat3(file, str(recording.path)), trials)
        except OSError as error:
            raise DataError(f"{recording.path} cannot be read ({error.strerror})") from error
    for index, (trial, blocks) in enumerate(zip(trials, parts, strict=True)):
        yield _rows(blocks, trial.where, unordered), trial.label, f"{recording.path.stem}/{index}"


def _rows(blocks: Blocks, where: str, unordered: Unordered) -> NDArray[np.int32]:
    rows = event_rows(blocks, _SENSOR, where, from_first=True, unordered=unordered)
    if not len(rows):
        raise DataError(f"{where}: there is no event; the recording is cut, or the times are of another one")
    return rows


def _repacked_events(path: Path) -> Events:
    with open_regular(path) as file:
        array: NDArray[Any] = read_npy(file, path.stat().st_size, str(path))
    return events_of(array, str(path), columns="xypt", unit=_MILLISECOND)


def _cut(blocks: Blocks, trials: Sequence[_Trial]) -> list[list[Events]]:
    """Return the events of each trial, in narrow dtypes; the recording passes once."""
    parts: list[list[Events]] = [[] for _ in trials]
    held = 0
    for block in blocks:
        if not len(block):
            continue
        first, last = int(block.t.min()), int(block.t.max())
        for trial, part in zip(trials, parts, strict=True):
            if last < trial.start or first >= trial.end:
                continue
            inside = (block.t >= trial.start) & (block.t < trial.end)
            assert block.y is not None
            assert block.p is not None
            part.append(
                Events(
                    block.t[inside],
                    block.x[inside].astype(np.int16),
                    block.y[inside].astype(np.int16),
                    block.p[inside].astype(np.int8),
                )
            )
            held += int(inside.sum())
            if held > _MOST_HELD:
                raise DataError(f"{trial.where}: the trials of this recording have more than {_MOST_HELD:,} events")
    return parts


def _read_table(path: Path) -> list[_Trial]:
    lines = [line.strip() for line in read_text(path).split("\n")]
    if lines[0].split(",") != _HEADER:
        raise DataError(f"{path}:1: found {lines[0][:80]!r}; the columns are {','.join(_HEADER)}")
    trials = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        cells = line.split(",")
        if len(cells) != 3 or not all(cell.isascii() and cell.isdecimal() and len(cell) < 18 for cell in cells):
            raise DataError(f"{path}:{number}: {line[:80]!r} is not three whole numbers, {','.join(_HEADER)}")
        label, start, end = map(int, cells)
        if not 1 <= label <= len(GESTURES) or end <= start:
            raise DataError(
                f"{path}:{number}: class {label} from {start} to {end}; classes are 1 to {len(GESTURES)}, "
                "and an end lies after its start"
            )
        trials.append(_Trial(label - 1, start, end, f"{path}:{number}"))
        if len(trials) > _MOST_TRIALS:
            raise DataError(f"{path}: more than {_MOST_TRIALS} rows; is it the table of one recording?")
    if not trials:
        raise DataError(f"{path} has no row; download it again")
    return trials
