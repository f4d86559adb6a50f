"""Importer of windows of PhysioNet records, such as an electrocardiogram's beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers.common import SPLITS, UNKNOWN, files_in, origin_of
from neurozoo.data.importers.delimited import open_csv
from neurozoo.data.importers.detected import DetectedFormat
from neurozoo.data.importers.splitting import Seed, divided, natural
from neurozoo.data.importers.wfdb_files import BEATS, Record, open_record, read_annotations, read_millivolts
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import DataError, suggestion

__all__ = ["detect_wfdb", "import_wfdb"]

SIGNAL = "ecg"
_TOGETHER = 512
_MOST_WINDOWS = 10_000_000


def import_wfdb(
    source: Path,
    dest: Path,
    *,
    window: Annotated[float, Field(gt=0, le=1e5)] = 1.0,
    table: str = "",
    annotator: str = "atr",
    classes: Sequence[str] = (),
    leads: Sequence[str] = (),
    train: Sequence[str] = (),
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    seed: Seed = 0,
) -> Store:
    """Make a store of windows of equal length, ``ecg`` ``[samples, leads]`` float32 in millivolts, and their classes.

    Without a table a window lies around each annotated beat, which is its class. Windows that reach beyond their
    record are left out. No record is in two splits.

    Args:
        source: A folder of ``NAME.hea`` with ``NAME.dat`` of format 16 or 212, and annotations ``NAME.atr``.
        dest: The store's folder; new or empty.
        window: Length in seconds.
        table: A CSV file with the columns ``record``, ``label``, ``start`` (seconds; by default the record is cut into
            windows from its beginning) and ``split``, instead of annotations.
        annotator: Ending of the annotations' files.
        classes: Which beats make up a class, as ``NAME=SYMBOLS``: ``normal=NLR,ectopic=VE``; others are left out. By
            default each symbol is a class.
        leads: Names of the leads, in order; by default all, which have to agree.
        train: Records of train; by default the rest.
        valid: Records of valid.
        test: Records of test. Without any of these 15 % of the records are drawn for each of valid and test.
        seed: Seed of that draw.

    Raises:
        DataError: A file is malformed or cut off, or records differ in rate or leads.
    """
    records = {path.stem: open_record(path) for path in files_in(source, ".hea")}
    if not records:
        raise DataError(f"{source} holds no .hea file; give the folder of the records")
    places_of = _leads(records, leads)
    first = next(iter(records.values()))
    for record in records.values():
        if record.rate != first.rate:
            raise DataError(
                f"{record.path} has {record.rate:g} samples a second and {first.path} {first.rate:g}; import them apart"
            )
    length = round(window * first.rate)
    if length < 1:
        raise DataError(f"a window of {window:g} s has no sample at {first.rate:g} samples a second; give a longer one")
    if table:
        windows, left = _by_table(Path(table), records, length)
    else:
        windows, left = _by_beats(records, length, annotator, _class_of(classes))
    if not windows:
        raise DataError(f"{source}: no window of {window:g} s has a label; {left:,} were left out")
    chosen = {"train": train, "valid": valid, "test": test}
    given = [each.split for each in windows]
    names, rule = divided(
        source,
        len(windows),
        given=given if any(given) and not any(chosen.values()) else None,
        what="the column split",
        where=[each.where for each in windows],
        by="record",
        groups=[each.record for each in windows],
        chosen=chosen,
        seed=seed,
    )
    options = {"table": Path(table).name, "annotator": annotator, "classes": classes, "leads": leads, **chosen}
    origin = origin_of("wfdb", source.name, UNKNOWN, window=window, **options, seed=seed)
    origin |= {"splits": rule, "left_out": left}
    outputs = sorted({each.label for each in windows}, key=natural)
    shape = SignalShape((len(places_of[first.path.stem]),), length, "float32", False, 1 / first.rate)
    with StoreWriter(dest, signals={SIGNAL: shape}, task="multiclass", outputs=outputs, origin=origin) as writer:
        # Record by record, so that one is in memory.
        for name, record in records.items():
            places = [place for place, each in enumerate(windows) if each.record == name]
            if not places:
                continue
            values = read_millivolts(record)[:, places_of[name]]
            for split in SPLITS:
                mine = [windows[place] for place in places if names[place] == split]
                for start in range(0, len(mine), _TOGETHER):
                    _add(writer, split, values, mine[start : start + _TOGETHER], length, outputs)
    return Store(dest)


def detect_wfdb(source: Path) -> DetectedFormat | None:
    """Detect a folder of records; None if it is none."""
    if not source.is_dir():
        return None
    names = [path.name for path in files_in(source, ".hea", ".dat", ".atr")]
    if not any(name.endswith(".hea") and f"{Path(name).stem}.dat" in names for name in names):
        return None
    options = () if any(name.endswith(".atr") for name in names) else ("--table", "LABELS.csv")
    return DetectedFormat("wfdb", "it holds .hea and .dat", tuple(names[:12]), options)


@dataclass(frozen=True)
class _Window:
    record: str
    start: int
    label: str
    split: str
    where: str


def _add(
    writer: StoreWriter,
    split: str,
    values: NDArray[np.float32],
    windows: Sequence[_Window],
    length: int,
    outputs: Sequence[str],
) -> None:
    x = np.stack([values[each.start : each.start + length] for each in windows])
    ids = [f"{each.record}[{each.start}]" for each in windows]
    writer.add(split, {SIGNAL: x}, [outputs.index(each.label) for each in windows], ids=ids)


def _leads(records: Mapping[str, Record], leads: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of the leads in each record."""
    wanted = tuple(leads) or next(iter(records.values())).leads
    found = {}
    for name, record in records.items():
        for lead in wanted:
            if lead not in record.leads:
                raise DataError(
                    f"{record.path} has no lead {lead!r}; it has: {', '.join(record.leads)}; name leads that all "
                    f"records have by --leads{suggestion(lead, record.leads)}"
                )
        found[name] = [record.leads.index(lead) for lead in wanted]
    return found


def _class_of(classes: Sequence[str]) -> dict[str, str]:
    """Return the class of each symbol."""
    found: dict[str, str] = {}
    for text in classes:
        name, _, symbols = text.partition("=")
        if not name or not symbols or not set(symbols) <= set(BEATS) or set(symbols) & set(found):
            raise DataError(f"--classes {text!r}: give NAME=SYMBOLS, each of {BEATS} once, such as normal=NLR")
        found |= dict.fromkeys(symbols, name)
    return found or {symbol: symbol for symbol in BEATS}


def _by_beats(
    records: Mapping[str, Record], length: int, annotator: str, class_of: Mapping[str, str]
) -> tuple[list[_Window], int]:
    """Return a window around each beat of a class, and how many reach beyond their record."""
    windows, left = [], 0
    for name, record in records.items():
        path = record.path.with_suffix(f".{annotator}")
        if not path.is_file():
            raise DataError(f"there is no {path}, the annotations of {name}; give --annotator ENDING, or a --table")
        for time, symbol in read_annotations(path):
            if symbol in class_of:
                start = time - length // 2
                if start < 0 or start + length > record.length:
                    left += 1
                    continue
                windows.append(_Window(name, start, class_of[symbol], "", str(path)))
    return windows, left


def _by_table(table: Path, records: Mapping[str, Record], length: int) -> tuple[list[_Window], int]:
    windows: list[_Window] = []
    left = 0
    with open_csv(table) as rows:
        if missing := [name for name in ("record", "label") if name not in rows.columns]:
            raise DataError(f"{table}:1: the columns are {', '.join(rows.columns)}; one has to be called {missing[0]}")
        for where, cells in rows:
            row = dict(zip(rows.columns, cells, strict=True))
            name = row["record"]
            if name not in records:
                raise DataError(f"{where}: there is no record {name!r}{suggestion(name, records)}")
            if not row["label"]:
                raise DataError(f"{where}: label is empty; give a class")
            record = records[name]
            for start in _starts(row, record, length, where):
                if start < 0 or start + length > record.length:
                    left += 1
                    continue
                windows.append(_Window(name, start, row["label"], row.get("split", ""), where))
            if len(windows) > _MOST_WINDOWS:
                raise DataError(f"{where}: more than {_MOST_WINDOWS:,} windows; divide the table")
    return windows, left


def _starts(row: Mapping[str, str], record: Record, length: int, where: str) -> Iterator[int]:
    if "start" not in row:
        yield from range(0, record.length - length + 1, length)
        return
    try:
        seconds = float(row["start"])
    except ValueError:
        seconds = float("nan")
    if not abs(seconds) < 1e9:
        raise DataError(f"{where}: start is {row['start']!r}; give seconds")
    yield round(seconds * record.rate)
