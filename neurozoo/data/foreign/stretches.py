"""Bytes that stay where they are: large data is named by its place and never copied into memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from dataclasses import dataclass

from neurozoo.data.foreign.limits import Limits
from neurozoo.data.foreign.refused import RefusedError

__all__ = ["FILE", "INLINE", "SPOOL", "Data", "Stream", "Stretch", "Workspace"]

FILE, SPOOL = 0, 1
"""The two places where bytes are: the file that is read, and what was unfolded of it."""
INLINE = 1024
"""Bytes up to which data is worth a copy."""
_LINE = 2**20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of a place, from ``start``."""

    place: int
    start: int
    length: int

    def __len__(self) -> int:
        return self.length


Data = bytes | Stretch


class Workspace:
    """What one reading has: the file, the spool, and what is left of the limits.

    Args:
        file: Descriptor of the file that is read.
        spool: Descriptor of an empty file, to write to and to read.
        limits: The limits.
    """

    def __init__(self, file: int, spool: int, limits: Limits) -> None:
        self.limits = limits
        self.size = os.fstat(file).st_size
        self.steps = limits.steps
        self._left = limits.content(self.size)
        self._spool = spool
        self._spooled = 0
        self._views: dict[int, mmap.mmap | bytes] = {FILE: _mapped(file, self.size), SPOOL: b""}

    def stream(self, data: Data) -> Stream:
        """Reads ``data`` from its beginning."""
        if isinstance(data, bytes):
            return Stream(data, 0, len(data), None)
        return Stream(self._view(data.place), data.start, data.start + data.length, data.place)

    def whole(self) -> Stream:
        """Reads the file."""
        return self.stream(Stretch(FILE, 0, self.size))

    def bytes_of(self, data: Data) -> bytes:
        """The bytes themselves, in memory."""
        if isinstance(data, bytes):
            return data
        return bytes(self._view(data.place)[data.start : data.start + data.length])

    def spool(self, pieces: Iterable[bytes]) -> Stretch:
        """Keep what comes in pieces, as far as the limits go.

        Raises:
            RefusedError: It is more than the limits allow.
        """
        # Arrays are more useful at even addresses.
        gap = -self._spooled % 64
        os.write(self._spool, bytes(gap))
        start = self._spooled = self._spooled + gap
        for piece in pieces:
            self.spend(len(piece))
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(self._spool, rest) :]
            self._spooled += len(piece)
        return Stretch(SPOOL, start, self._spooled - start)

    def spend(self, size: int) -> None:
        """Take ``size`` bytes from what the file may unfold to.

        Raises:
            RefusedError: There is not so much left.
        """
        self._left -= size
        if self._left < 0:
            allowed = self.limits.content(self.size) / 2**30
            raise RefusedError(
                f"it unfolds to more than {allowed:.3g} GiB, {self.size} bytes of file; if you trust it, set "
                "NEUROZOO_READ_CONTENT_GIB to what it needs"
            )

    def _view(self, place: int) -> mmap.mmap | bytes:
        if place == SPOOL and len(self._views[SPOOL]) < self._spooled:
            self._views[SPOOL] = _mapped(self._spool, self._spooled)
        return self._views[place]


class Stream:
    """Reads bytes one after another and never past their end.

    Attributes:
        position: Where the next byte is.
    """

    __slots__ = ("_place", "_view", "end", "position")

    def __init__(self, view: mmap.mmap | bytes, start: int, end: int, place: int | None) -> None:
        self._view, self.position, self.end, self._place = view, start, end, place

    def byte(self) -> int:
        """The next byte."""
        if self.position >= self.end:
            raise RefusedError("not a whole file: it ends in the middle; get it anew")
        self.position += 1
        return self._view[self.position - 1]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self.skip(size)
        return self._view[start : start + size]

    def peek(self, size: int) -> bytes:
        """The next ``size`` bytes, or fewer at the end; they stay to be read."""
        return self._view[self.position : min(self.position + size, self.end)]

    def skip(self, size: int) -> int:
        """Where the next ``size`` bytes begin, which are passed over."""
        if not 0 <= size <= self.end - self.position:
            raise RefusedError(
                f"not a whole file: {size} bytes are announced where {self.end - self.position} are left; get it anew"
            )
        self.position += size
        return self.position - size

    def cut(self, size: int) -> Data:
        """The next ``size`` bytes, left where they are if they are many."""
        start = self.skip(size)
        if self._place is None or size <= INLINE:
            return bytes(self._view[start : start + size])
        return Stretch(self._place, start, size)

    def unsigned(self, size: int) -> int:
        """A number of ``size`` bytes, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        """Up to the next line feed, which is passed over; lines of text protocols are short."""
        end = self._view.find(b"\n", self.position, min(self.end, self.position + _LINE))
        if end < 0:
            raise RefusedError(f"not a whole file: a line without an end, or longer than {_LINE} bytes; get it anew")
        start, self.position = self.position, end + 1
        return self._view[start:end]

    def long_line(self) -> Data:
        """As :meth:`line`, of any length, left where it is if it is long."""
        end = self._view.find(b"\n", self.position, self.end)
        if end < 0:
            raise RefusedError("not a whole file: a line without an end; get it anew")
        data = self.cut(end - self.position)
        self.position = end + 1
        return data


def _mapped(handle: int, size: int) -> mmap.mmap | bytes:
    if not size:
        return b""
    return mmap.mmap(handle, size, access=mmap.ACCESS_READ)
