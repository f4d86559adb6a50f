"""Readers of AEDAT 2.0 (DVS128 cameras) and AEDAT 3.1.

Source: https://docs.inivation.com/software/software-advanced-usage/file-formats/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from neurozoo.data.importers.events.blocks import BLOCK, Events, Unwrap
from neurozoo.data.importers.events.packed import LONGEST_HEADER, header_lines, records
from neurozoo.errors import DataError

__all__ = ["AEDAT2", "AEDAT3", "AEDAT4", "aedat_version", "read_aedat2", "read_aedat3"]

AEDAT2, AEDAT3, AEDAT4 = b"#!AER-DAT2.0", b"#!AER-DAT3.", b"#!AER-DAT4.0"
"""How files of each version begin."""
_HEADER_END = b"#!END-HEADER"
_PACKET = struct.Struct("<hhiiiiii")
_POLARITY, _POLARITY_SIZE = 1, 8
_LARGEST_PACKET = 2**28
"""Bytes of one packet."""


def aedat_version(start: bytes) -> bytes:
    """Return which of the versions a file's first bytes are of; empty if none."""
    return next((version for version in (AEDAT2, AEDAT3, AEDAT4) if start.startswith(version)), b"")


def read_aedat2(file: BinaryIO, where: str, *, turned: bool = False) -> Iterator[Events]:
    """Yield the events of an AEDAT 2.0 file of a DVS128, times in microseconds.

    After lines that begin with ``#``, eight bytes an event, big-endian: an address (bit 0 is 1 for *darker*, bits 1 to
    7 are x, 8 to 14 are y) and a time. Polarity is therefore ``1 - bit 0``.

    Args:
        file: The file, at its beginning.
        where: Names the file in errors.
        turned: Whether x and y are exchanged and counted from the other end, ``127 - y`` and ``127 - x``, as
            CIFAR10-DVS is usually shown.

    Raises:
        DataError: It is no AEDAT 2.0, of another camera, or ends within an event.
    """
    lines = header_lines(file, b"#", where)
    if not lines or not lines[0].startswith(AEDAT2):
        raise DataError(f"{where}: it does not begin with {AEDAT2.decode()}; only AEDAT 2.0 is read here")
    chip = next((line for line in lines if line.lower().startswith(b"# aechip:")), b"")
    if chip and b"dvs128" not in chip.lower():
        name = chip.split(b":", 1)[1].strip().decode("ascii", "replace")[:80]
        raise DataError(f"{where}: a recording of {name!a}; only the addresses of a DVS128 are known")
    unwrap, done, skipped = Unwrap(32), 0, sum(map(len, lines))
    for raw in records(file, np.dtype([("address", ">u4"), ("t", ">u4")]), where, skipped):
        address = raw["address"].astype(np.int64)
        high = address >> 15
        if high.any():
            at = int(high.astype(bool).argmax())
            raise DataError(
                f"{where}: event {done + at} has the address {address[at]:#x}, which is no pixel of a DVS128; it is "
                "a signal of another kind or of another camera: remove it"
            )
        x, y = address >> 1 & 0x7F, address >> 8 & 0x7F
        if turned:
            x, y = 127 - y, 127 - x
        done += len(address)
        yield Events(unwrap(raw["t"]), x, y, 1 - (address & 1))


def read_aedat3(file: BinaryIO, where: str) -> Iterator[Events]:
    """Yield the valid polarity events of an AEDAT 3.1 file, times in microseconds.

    Lines that begin with ``#`` up to ``#!END-HEADER``, then packets: a header of 28 bytes, little-endian (int16 type,
    int16 source, int32 size of an event, int32 offset of its time, int32 overflow, int32 capacity, int32 number, int32
    valid), and ``number`` events. Polarity events are uint32 (bit 0 valid, bit 1 polarity, bits 2 to 16 y, 17 to 31 x)
    and int32 time; the whole time is ``overflow << 31 | time``. Packets of other types are skipped.

    Raises:
        DataError: It is no AEDAT 3.1, a packet's header makes no sense, or the file ends within a packet.
    """
    at = _skip_header3(file, where)
    while header := file.read(_PACKET.size):
        if len(header) < _PACKET.size:
            raise DataError(f"{where}: it ends within the header of a packet at byte {at}; download it again")
        kind, _, size, offset, overflow, _, number, _ = _PACKET.unpack(header)
        polarity = kind == _POLARITY
        wrong = min(size, offset, overflow, number) < 0 or size * number > _LARGEST_PACKET
        if wrong or (polarity and (size, offset) != (_POLARITY_SIZE, 4)):
            raise DataError(
                f"{where}: the packet at byte {at} announces {number} events of type {kind}, {size} bytes each, with "
                f"the time at {offset}, overflow {overflow}; the file is damaged or of another format"
            )
        at += _PACKET.size + size * number
        left = number
        while left:
            count = min(left, BLOCK)
            raw = file.read(count * size)
            if len(raw) < count * size:
                raise DataError(f"{where}: it ends within a packet, {left} events before byte {at}; download it again")
            left -= count
            if polarity:
                yield _polarity_events(raw, overflow)


def _polarity_events(raw: bytes, overflow: int) -> Events:
    pairs = np.frombuffer(raw, "<u4").reshape(-1, 2).astype(np.int64)
    data, t = pairs[pairs[:, 0] & 1 == 1].T
    return Events((overflow << 31) | (t & 0x7FFFFFFF), data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1)


def _skip_header3(file: BinaryIO, where: str) -> int:
    """Read the header's lines; returns their number of bytes."""
    size, first = 0, True
    while line := file.readline(LONGEST_HEADER):
        size += len(line)
        if first and not line.startswith(AEDAT3):
            break
        first = False
        if line.startswith(_HEADER_END) and line.endswith(b"\n"):
            return size
        # Older files end their header where no line begins with #; only a marked end can be told from data.
        if not line.startswith(b"#") or size > LONGEST_HEADER:
            raise DataError(f"{where}: its header has no line {_HEADER_END.decode()}; only AEDAT 3.1 can be imported")
    raise DataError(f"{where}: it does not begin with {AEDAT3.decode()}1, or ends in its header; it is no AEDAT 3.1")
