"""Limits on the memory, time and size of reading an untrusted file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from neurozoo.errors import DataError

__all__ = ["LONGEST", "REFUSED", "Limits"]

LONGEST = 2**28
"""Bytes of the reading process's answer: 256 MiB of values outside of arrays."""
REFUSED = 2
"""The reading process's exit status if it refuses the file; its answer is then the reason."""

_GIB = 2**30


def _setting(name: str, default: float) -> Callable[[], float]:
    def read() -> float:
        text = os.environ.get(name, "")
        try:
            value = float(text or default)
        except ValueError:
            value = 0.0
        if not 0 < value < 1e9:
            raise DataError(f"{name} is {text!r}; give a number above 0")
        return value

    return read


@dataclass(frozen=True)
class Limits:
    """Limits on reading one file.

    Attributes:
        memory_gib: Memory of the reading process, in GiB, in addition to twice the file's size, as a pickle's arrays
            pass through memory; ``NEUROZOO_READ_MEMORY_GIB``.
        seconds: Wall-clock time and processor time to read it, plus one second for each 2 MB of
            the file; ``NEUROZOO_READ_SECONDS``.
        content_gib: Size of all arrays, and of the unpacked content, in GiB, or ``ratio`` times the file's size if
            that is larger; ``NEUROZOO_READ_CONTENT_GIB``.
        ratio: See ``content_gib``; dimensionless.
        file_gib: Size of the file, in GiB; ``NEUROZOO_READ_FILE_GIB``.
        values: Number of values outside of arrays.
        depth: Nesting of containers.
        members: Members of a zip file.
    """

    memory_gib: float = field(default_factory=_setting("NEUROZOO_READ_MEMORY_GIB", 4.0))
    seconds: float = field(default_factory=_setting("NEUROZOO_READ_SECONDS", 60.0))
    content_gib: float = field(default_factory=_setting("NEUROZOO_READ_CONTENT_GIB", 1.0))
    ratio: float = 100.0
    file_gib: float = field(default_factory=_setting("NEUROZOO_READ_FILE_GIB", 128.0))
    values: int = 10_000_000
    depth: int = 64
    members: int = 500_000

    def memory(self, size: int) -> int:
        """Return the memory to read a file of ``size`` bytes, in bytes."""
        return int(self.memory_gib * _GIB) + 2 * size

    @property
    def file(self) -> int:
        """Allowed size of the file, in bytes."""
        return int(self.file_gib * _GIB)

    def content(self, size: int) -> int:
        """Return the allowed content of a file of ``size`` bytes, in bytes."""
        return int(max(self.content_gib * _GIB, self.ratio * size))

    def time(self, size: int) -> float:
        """Return the time to read a file of ``size`` bytes, in seconds."""
        return self.seconds + size / 2e6
