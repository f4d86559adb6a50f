"""Files of a data set in folders and zip archives, with the split and the class that their places and names give."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from neurozoo.data.importers.common import files_in
from neurozoo.data.importers.splitting import natural, split_alias
from neurozoo.data.untrusted.limits import Limits
from neurozoo.errors import DataError
from neurozoo.files.opening import open_regular
from neurozoo.files.text import is_litter, printable

__all__ = ["EventFile", "class_of", "event_files", "file_of", "names_class", "names_split", "split_of"]

_ENCRYPTED = 1
_SPLIT = re.compile(
    r"(?:^|[_\-. ]|(?<=[a-z0-9])(?=[A-Z]))(train|test|valid|validation|val|Train|Test|Valid|Validation|Val|TRAIN|TEST)"
    r"(?:ing|_set|_data)?$"
)
_NAMES = (
    re.compile(r"cifar10_([a-z]+)_\d+$"),
    re.compile(r"x?(club|diamond|heart|spade)\d+i?$"),
    re.compile(r"sample_\d+_label_(\d+)$"),
)
"""Names of files that say the class."""


@dataclass(frozen=True)
class EventFile:
    """One file, in a folder or in a zip archive.

    Attributes:
        name: Its place below the source, with the ending; a zip archive counts as a folder.
        where: Names it in errors.
        size: Its bytes, unpacked.
        opens: Opens it for reading, as a context manager.
    """

    name: PurePosixPath
    where: str
    size: int
    opens: Callable[[], BinaryIO]


@contextmanager
def event_files(source: Path, *endings: str) -> Iterator[list[EventFile]]:
    """Find the files with these endings in a folder, in the zip archives of a folder, or in one archive.

    Yields:
        The files, sorted by name with numbers as numbers; they can be opened inside of the block.

    Raises:
        DataError: The source cannot be read, or an archive is damaged, encrypted, or has too many members.
    """
    archives = [source] if source.is_file() else files_in(source, ".zip", below=True)
    found: list[EventFile] = []
    for path in [] if source.is_file() else files_in(source, *endings, below=True):
        if not path.is_dir():
            found.append(file_of(path, path.relative_to(source)))
    with ExitStack() as opened:
        for path in archives:
            file = opened.enter_context(open_regular(path))
            try:
                archive = opened.enter_context(zipfile.ZipFile(file))
            except Exception as error:  # no list of what a forged archive may lead to is complete
                raise DataError(
                    f"{path} is no whole zip archive ({error}); download it again, or give a folder"
                ) from error
            if len(archive.infolist()) > Limits().members:
                raise DataError(
                    f"{path} has {len(archive.infolist()):,} members; at most {Limits().members:,} are read"
                )
            below = path.parent.relative_to(source) if source.is_dir() else Path()
            found += _members(archive, path, PurePosixPath(below.as_posix()), endings)
        yield sorted(found, key=lambda file: natural(str(file.name)))


def file_of(path: Path, name: Path) -> EventFile:
    """Return a file of a folder; ``name`` is its place below the source."""
    return EventFile(PurePosixPath(name.as_posix()), str(path), path.stat().st_size, lambda: open_regular(path))


def _members(archive: zipfile.ZipFile, path: Path, below: PurePosixPath, endings: Sequence[str]) -> Iterator[EventFile]:
    for info in archive.infolist():
        place = PurePosixPath(info.filename)
        if info.is_dir() or not place.name.endswith(tuple(endings)) or any(map(is_litter, place.parts)):
            continue
        where = printable(f"{path}: {info.filename}")
        if info.flag_bits & _ENCRYPTED:
            raise DataError(f"{where} is encrypted; unpack the archive first")
        # airplane.zip may hold airplane/1.aedat or 1.aedat: the archive's name is a folder in both.
        folder = below if place.parts[0] == path.stem else below / path.stem
        yield EventFile(folder / place, where, info.file_size, lambda info=info: _open_member(archive, info))  # type: ignore[misc]


def _open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    try:
        return archive.open(info)  # type: ignore[return-value]
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"{printable(info.filename)} of {archive.filename}: {error}; download it again") from error


def split_of(name: PurePosixPath) -> tuple[str, int]:
    """Return the split that a folder of a file's place names, and how many folders that takes.

    ``Train``, ``pips_train``, ``ibmGestureTrain`` and ``n-cars_train`` all name train; an empty split is none.
    """
    for index, part in enumerate(name.parts[:-1]):
        if split := names_split(part):
            return split, index + 1
    return "", 0


def names_split(folder: str) -> str:
    """Return the split that a folder's name ends in; empty if none."""
    found = _SPLIT.search(folder)
    return split_alias(found[1]) if found else ""


def names_class(stem: str) -> str:
    """Return the class that a file's own name says; empty if none."""
    return next((found[1] for pattern in _NAMES if (found := pattern.match(stem))), "")


def class_of(file: EventFile) -> str:
    """Return the class that a file's place gives: its folder's name, else what its own name says.

    Raises:
        DataError: It lies in no folder of a class, and its name has no class in it.
    """
    folders = file.name.parts[split_of(file.name)[1] : -1]
    if name := folders[-1] if folders else names_class(file.name.stem):
        return name
    raise DataError(f"{file.where}: it is in no folder of a class, and its name has none; put it into CLASS/")
