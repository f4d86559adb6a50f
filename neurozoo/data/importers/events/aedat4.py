"""Reader of AEDAT 4.0's events.

A file is a line, a header and packets; each is a FlatBuffers table, packets compressed. The two tables that are needed
have three fields and one, so they are read here by hand; LZ4 and Zstandard come with the extra ``aedat4``.

Sources: https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html,
https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from neurozoo.data.importers.events.aedat import AEDAT4
from neurozoo.data.importers.events.blocks import Events
from neurozoo.errors import DataError, install_extra

__all__ = ["read_aedat4"]

_LINE = 14
"""Bytes of ``#!AER-DAT4.0`` and its line end."""
_HEADER, _EVENTS = b"IOHE", b"EVTS"
_COMPRESSIONS = ("NONE", "LZ4", "LZ4_HIGH", "ZSTD", "ZSTD_HIGH")
_LARGEST = 2**26
"""Bytes of the header or of an unpacked packet; cameras write packets of some milliseconds."""
_EVENT = np.dtype(
    {"names": ["t", "x", "y", "p"], "formats": ["<i8", "<i2", "<i2", "u1"], "offsets": [0, 8, 10, 12], "itemsize": 16}
)


def read_aedat4(file: BinaryIO, where: str) -> Iterator[Events]:
    """Yield the events of an AEDAT 4.0 file, times in microseconds; packets of other data are skipped.

    A packet is int32 number of its stream, int32 size, and that many bytes. Unpacked they are a FlatBuffers table
    ``EVTS`` with one field: a vector of structures of 16 bytes (int64 time, int16 x, int16 y, bool polarity, 1 is
    brighter).

    Raises:
        DataError: It is no AEDAT 4.0, needs a library that is not installed, ends within a packet, or a packet makes
            no sense.
    """
    if not file.read(_LINE).startswith(AEDAT4):
        raise DataError(f"{where}: it does not begin with {AEDAT4.decode()}; only AEDAT 4.0 is read here")
    header = _sized(file, where)
    if header[4:8] != _HEADER:
        raise DataError(f"{where}: its header is damaged; download it again")
    code = _field(header, 0, "<i", 0, where)
    if not 0 <= code < len(_COMPRESSIONS):
        raise DataError(f"{where}: compression {code}; known are {', '.join(_COMPRESSIONS)}")
    end = _field(header, 1, "<q", -1, where)
    unpack = _unpacker(_COMPRESSIONS[code], where)
    at = _LINE + 4 + len(header)
    # A table of contents follows the packets, without a packet's header.
    while end < 0 or at < end:
        start = file.read(8)
        if not start and end < 0:
            return
        size = struct.unpack("<ii", start)[1] if len(start) == 8 else -1
        raw = file.read(size) if 0 <= size <= _LARGEST else b""
        if size < 0 or len(raw) < size:
            raise DataError(f"{where}: it ends within a packet, or is damaged, at byte {at}; download it again")
        at += 8 + size
        table = unpack(raw)
        if table[8:12] == _EVENTS:
            yield _events(table[4:], where)


def _events(table: bytes, where: str) -> Events:
    at = _field_place(table, 0, where)
    if at is None:
        return Events(*(np.zeros(0, np.int64) for _ in range(4)))
    start = at + _number(table, "<I", at, where)
    count = _number(table, "<I", start, where)
    if count * _EVENT.itemsize > len(table) - start - 4:
        raise DataError(f"{where}: a packet announces {count} events in {len(table)} bytes; download it again")
    rows = np.frombuffer(table, _EVENT, count, start + 4)
    return Events(rows["t"].astype(np.int64), rows["x"], rows["y"], rows["p"])


def _sized(file: BinaryIO, where: str) -> bytes:
    """Read a table that its size precedes."""
    raw = file.read(4)
    size = int.from_bytes(raw, "little")
    table = file.read(size) if len(raw) == 4 and 8 <= size <= _LARGEST else b""
    if len(table) < max(size, 8):
        raise DataError(f"{where}: it ends within its header, or is damaged; download it again")
    return table


def _number(table: bytes, form: str, at: int, where: str) -> int:
    if not 0 <= at <= len(table) - struct.calcsize(form):
        raise DataError(f"{where}: a table points outside of itself; the file is damaged: download it again")
    value: int = struct.unpack_from(form, table, at)[0]
    return value


def _field_place(table: bytes, index: int, where: str) -> int | None:
    """Return where a field of the root table lies; None where it has its default."""
    root = _number(table, "<I", 0, where)
    fields = root - _number(table, "<i", root, where)
    entry = 4 + 2 * index
    offset = _number(table, "<H", fields + entry, where) if entry < _number(table, "<H", fields, where) else 0
    return root + offset if offset else None


def _field(table: bytes, index: int, form: str, default: int, where: str) -> int:
    at = _field_place(table, index, where)
    return default if at is None else _number(table, form, at, where)


def _unpacker(name: str, where: str) -> Callable[[bytes], bytes]:
    """Return what unpacks a packet, of :data:`_LARGEST` bytes at most."""
    if name == "NONE":
        return lambda raw: raw
    try:
        if name.startswith("LZ4"):
            from lz4.frame import LZ4FrameDecompressor

            def decompressor() -> Any:
                return LZ4FrameDecompressor()
        else:
            from zstandard import ZstdDecompressor

            def decompressor() -> Any:
                return ZstdDecompressor(max_window_size=_LARGEST)
    except ImportError as error:
        raise DataError(
            f"{where}: its packets are compressed by {name}; install what unpacks them: {install_extra('aedat4')}"
        ) from error

    def unpack(raw: bytes) -> bytes:
        try:
            if name.startswith("LZ4"):
                unpacker = decompressor()
                table: bytes = unpacker.decompress(raw, max_length=_LARGEST)
                whole = unpacker.eof
            else:
                with decompressor().stream_reader(raw) as reader:
                    table = reader.read(_LARGEST + 1)
                whole = len(table) <= _LARGEST
        except Exception as error:  # each library has its own
            raise DataError(f"{where}: a packet cannot be unpacked ({error}); download the file again") from error
        if not whole:
            raise DataError(f"{where}: a packet is cut, or unpacks to more than {_LARGEST:,} bytes; it is no recording")
        return table

    return unpack
