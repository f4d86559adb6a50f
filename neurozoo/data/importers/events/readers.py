"""The readers of all formats of event files, by the ending of a file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import BinaryIO

from neurozoo.data.importers.events.aedat import AEDAT2, AEDAT3, AEDAT4, aedat_version, read_aedat2, read_aedat3
from neurozoo.data.importers.events.aedat4 import read_aedat4
from neurozoo.data.importers.events.arrays import read_mat_events, read_npy_events, read_npz_events
from neurozoo.data.importers.events.blocks import Blocks
from neurozoo.data.importers.events.files import EventFile
from neurozoo.data.importers.events.folders import Read
from neurozoo.data.importers.events.packed import read_bin, read_dat
from neurozoo.errors import DataError

__all__ = ["BIN", "by_place", "read_aedat", "readers"]


def by_place(reader: Callable[[BinaryIO, str], Blocks]) -> Read:
    """Return a reader that takes the place of a file in messages as one that takes the file's description."""
    return lambda file, of: reader(file, of.where)


BIN: Mapping[str, Read] = {".bin": by_place(read_bin), ".bs2": by_place(read_bin)}


def read_aedat(file: BinaryIO, of: EventFile, *, turned: bool = False) -> Blocks:
    """Read an AEDAT file of any version."""
    start = file.read(len(AEDAT4))
    file.seek(0)
    version = aedat_version(start)
    if version == AEDAT2:
        return read_aedat2(file, of.where, turned=turned)
    if version in (AEDAT3, AEDAT4):
        return (read_aedat3 if version == AEDAT3 else read_aedat4)(file, of.where)
    raise DataError(f"{of.where} begins with {start!r}, which is no AEDAT of version 2.0, 3.1 or 4.0; remove the file")


def readers(columns: str, unit: float) -> dict[str, Read]:
    """Return the readers of all formats by ending; the arguments are those of arrays, see ``events_of``."""
    arrays = {".npy": read_npy_events(columns, unit), ".npz": read_npz_events(columns, unit)}
    others = {".aedat": read_aedat, ".aedat4": read_aedat, ".dat": by_place(read_dat)}
    return {**BIN, **others, ".mat": read_mat_events(None, unit), **arrays}
