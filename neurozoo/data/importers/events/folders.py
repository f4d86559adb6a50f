"""Make a store of a data set that has a file a sample: folders of splits, in them folders of classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.common import SPLITS, files_in, origin_of
from neurozoo.data.importers.events.arrays import TICK
from neurozoo.data.importers.events.blocks import Blocks, Unordered, event_rows, write_events
from neurozoo.data.importers.events.files import EventFile, class_of, event_files, split_of
from neurozoo.data.importers.splitting import draw_by_class, drawn_text, natural
from neurozoo.data.store import Store
from neurozoo.errors import DataError, suggestion
from neurozoo.files.text import printable

__all__ = ["EventFolder", "Read", "import_folder"]

Read = Callable[[BinaryIO, EventFile], Blocks]


@dataclass(frozen=True)
class EventFolder:
    """What an importer knows of its files.

    Attributes:
        format: The importer's name.
        readers: What reads a file, by its ending.
        sensor: Axes of the addresses.
        terms: Licence and citation.
        from_first: Whether a sample's times count from its first event.
        tick: Seconds of a unit of the times that readers give.
        renamed: Names of classes by those of their folders.
        options: What the importer was given, for the store's origin.
    """

    format: str
    readers: Mapping[str, Read]
    sensor: tuple[int, ...]
    terms: Mapping[str, str]
    from_first: bool = True
    tick: float = TICK
    renamed: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sample:
    file: EventFile
    split: str
    label: int


def import_folder(
    source: Path,
    dest: Path,
    of: EventFolder,
    *,
    classes: Sequence[str] = (),
    valid: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    unordered: Unordered = "refuse",
    last: int = 0,
) -> Store:
    """Make a store with the signal ``events`` and a class a file.

    A sample's id is its file's place below the source, without the ending.

    Args:
        source: A folder ``SPLIT/CLASS/NAME`` or ``CLASS/NAME``, also in zip archives, or one archive.
        dest: The store's folder; new or empty.
        of: What the importer knows.
        classes: Classes to import, in the order of the outputs; by default all, sorted.
        valid: Share of each class that is drawn from train for ``valid``, where there is no such folder; 0 draws none.
        test: The same for ``test``, where the folders name no splits at all.
        seed: Seed of the draw.
        unordered: What happens to a sample whose times fall.
        last: Samples of each class, the last by name, that become ``valid`` in place of drawn ones.

    Raises:
        DataError: There is no file, one is in no class or no split, is empty, damaged or of another format, or holds no
            event; or a chosen class is not there.
    """
    with event_files(source, *of.readers) as files:
        if not files:
            listed = ", ".join(path.name for path in files_in(source, "")[:12]) if source.is_dir() else source.name
            raise DataError(f"{source}: no file ends in {' or '.join(of.readers)}; it holds {listed or 'nothing'}")
        names, samples = _samples(source, files, of, classes)
        if last:
            samples, drawn = _with_last(samples, names, last)
        else:
            samples, drawn = _with_drawn(source, samples, names, valid, test, seed)
        options = {**of.options, "classes": list(classes), "valid": last or valid, "test": test, "seed": seed}
        origin = origin_of(of.format, source.name, of.terms, **options, unordered=unordered) | {"splits": drawn}
        by_split = {split: [sample for sample in samples if sample.split == split] for split in SPLITS}
        rows = {
            split: ((_rows(each.file, of, unordered), each.label, _id(each.file)) for each in chosen)
            for split, chosen in by_split.items()
        }
        return write_events(dest, of.sensor, of.tick, names, origin, rows)


def _id(file: EventFile) -> str:
    return printable(str(file.name.with_suffix("")))


def _rows(file: EventFile, of: EventFolder, unordered: Unordered) -> NDArray[np.int32]:
    """Return a file's rows; whatever is wrong with it is a DataError that names it."""
    if not file.size:
        raise DataError(f"{file.where} is empty; download it again, or remove it")
    read = next(reader for ending, reader in of.readers.items() if file.name.name.endswith(ending))
    try:
        with file.opens() as opened:
            rows = event_rows(read(opened, file), of.sensor, file.where, from_first=of.from_first, unordered=unordered)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{file.where} cannot be read ({error}); it is damaged: download it again") from error
    if not len(rows):
        raise DataError(f"{file.where} holds no event; remove it")
    return rows


def _samples(
    source: Path, files: Sequence[EventFile], of: EventFolder, classes: Sequence[str]
) -> tuple[list[str], list[_Sample]]:
    """Return the classes and each file's split and class."""
    labels = [of.renamed.get(name := class_of(file), name) for file in files]
    known = sorted(set(labels), key=natural)
    for name in classes:
        if name not in known:
            raise DataError(f"{source} has no class {name!r}; there are: {', '.join(known)}{suggestion(name, known)}")
    names = list(classes) or known
    splits = [split_of(file.name)[0] for file in files]
    if any(splits) and not all(splits):
        outside = next(file for file, split in zip(files, splits, strict=True) if not split)
        raise DataError(f"{outside.where} is in no folder of a split, and others are; move it, or remove it")
    index = {name: place for place, name in enumerate(names)}
    rows = zip(files, splits, labels, strict=True)
    return names, [_Sample(file, split, index[label]) for file, split, label in rows if label in index]


def _with_drawn(
    source: Path, samples: Sequence[_Sample], names: Sequence[str], valid: float, test: float, seed: int
) -> tuple[list[_Sample], str]:
    """Draw the splits that the folders do not name; returns what to say of them too."""
    there = {sample.split for sample in samples} - {""}
    # Folders of train alone are a part of a data set, whose test is elsewhere.
    wanted = {"valid": 0.0 if "valid" in there else valid, "test": 0.0 if there else test}
    shares = {name: share for name, share in wanted.items() if share}
    pool = [sample for sample in samples if sample.split in ("", "train")]
    labels = np.array([sample.label for sample in pool], np.int64)
    places = draw_by_class(labels, shares, seed, names, source)
    kept = [sample for sample in samples if sample.split not in ("", "train")]
    drawn = [_Sample(sample.file, split, sample.label) for sample, split in zip(pool, places, strict=True)]
    return drawn + kept, drawn_text(shares, seed, "class", there)


def _with_last(samples: Sequence[_Sample], names: Sequence[str], last: int) -> tuple[list[_Sample], str]:
    """Make the last samples of each class of train valid; returns what to say of it too."""
    made = list(samples)
    for label, name in enumerate(names):
        places = [place for place, sample in enumerate(made) if sample.label == label and sample.split == "train"]
        if len(places) <= last:
            raise DataError(f"{name!r} has {len(places)} samples of train, and {last} are to be valid; give fewer")
        for place in places[-last:]:
            made[place] = replace(made[place], split="valid")
    return made, f"valid is the last {last} of each class's train, by name; as given: train, test"
