"""Readers of formats with a few bytes an event: N-MNIST's ``.bin`` and Prophesee's ``.dat``.

Sources: Orchard et al.: Converting static image datasets to spiking neuromorphic datasets using saccades, Frontiers in
Neuroscience 9, 2015; https://docs.prophesee.ai/stable/data/file_formats/dat.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.importers.events.blocks import BLOCK, Events, Unwrap
from neurozoo.errors import DataError

__all__ = ["LONGEST_HEADER", "header_lines", "read_bin", "read_dat", "records"]

LONGEST_HEADER = 2**20
"""Bytes of a header of text lines."""
_OVERFLOW = 240
"""The y of a ``.bin`` row that is no event: later times are 2**13 microseconds more."""
_CD_EVENTS = (0x00, 0x0C)
"""Types of Prophesee's changes of contrast: Event2D and EventCD."""


def read_bin(file: BinaryIO, where: str) -> Iterator[Events]:
    """Yield the events of a ``.bin`` file, times in microseconds.

    Five bytes an event: x, y, then 40 - 16 = 24 bits, big-endian: bit 23 is the polarity (1 is brighter), the others
    the time.

    Raises:
        DataError: Its size is no multiple of five bytes.
    """
    added = 0
    for raw in records(file, np.dtype((np.uint8, 5)), where):
        x, y, high, middle, low = raw.T.astype(np.int64)
        overflows = y == _OVERFLOW
        t = (high & 0x7F) << 16 | middle << 8 | low
        if overflows.any():
            t += np.cumsum(overflows) << 13
        t += added
        added += int(overflows.sum()) << 13
        kept = ~overflows
        yield Events(t[kept], x[kept], y[kept], high[kept] >> 7)


def read_dat(file: BinaryIO, where: str) -> Iterator[Events]:
    """Yield the events of a Prophesee ``.dat`` file, times in microseconds.

    Lines that begin with ``%``, two bytes (type and size of an event), then little-endian uint32 time and uint32 with x
    in bits 0 to 13, y in 14 to 27 and the polarity in 28 to 31. A file without lines has no two bytes either.

    Raises:
        DataError: Its events are of another type or size, or it ends within one.
    """
    if header_lines(file, b"%", where):
        kind = file.read(2)
        if len(kind) < 2:
            raise DataError(f"{where}: it ends after its header; download it again")
        if kind[0] not in _CD_EVENTS or kind[1] != 8:
            raise DataError(
                f"{where}: events of type {kind[0]:#04x} and {kind[1]} bytes; only changes of contrast, type 0x00 or "
                "0x0c with 8 bytes, can be imported"
            )
    unwrap = Unwrap(32)
    for raw in records(file, np.dtype([("t", "<u4"), ("data", "<u4")]), where):
        data = raw["data"].astype(np.int64)
        yield Events(unwrap(raw["t"]), data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28)


def header_lines(file: BinaryIO, mark: bytes, where: str) -> list[bytes]:
    """Read the lines that begin with the byte ``mark``, and leave the file at the first that does not.

    Raises:
        DataError: They have more than :data:`LONGEST_HEADER` bytes, or the last has no end.
    """
    lines: list[bytes] = []
    size = 0
    while (start := file.read(1)) == mark:
        line = start + file.readline(LONGEST_HEADER)
        size += len(line)
        if size > LONGEST_HEADER or not line.endswith(b"\n"):
            raise DataError(f"{where}: a header of {LONGEST_HEADER:,} bytes or without an end; it is no such file")
        lines.append(line)
    if start:
        file.seek(-1, 1)
    return lines


def records(file: BinaryIO, dtype: np.dtype[Any], where: str, skipped: int = 0) -> Iterator[NDArray[Any]]:
    """Yield the rest of a file as records ``[n]``, some at a time.

    Args:
        file: Where the records begin.
        dtype: Of one record.
        where: Names the file in errors.
        skipped: Bytes before the records, for errors.

    Raises:
        DataError: The file ends within a record.
    """
    size, left, done = dtype.itemsize, b"", 0
    while raw := file.read(BLOCK * size):
        raw = left + raw
        whole = len(raw) // size * size
        left = raw[whole:]
        done += whole
        if whole:
            yield np.frombuffer(raw[:whole], dtype)
    if left:
        raise DataError(
            f"{where}: it ends within an event: {skipped + done + len(left)} bytes are no multiple of {size}; it was "
            "cut, or is of another format: download it again"
        )
