"""How much a stranger's file may take while it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from neurozoo.errors import DataError

__all__ = ["Limits"]

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
    """Limits on reading one file; large arrays stay in the file and count as content, not as memory.

    The defaults read a file of 10 GB of features on a machine with 4 GiB to spare, or 10 GB of
    compressed ones with as much disk as they unfold to.

    Attributes:
        memory_gib: Memory of the process that reads, in GiB; ``NEUROZOO_READ_MEMORY_GIB``.
        seconds: Time to read it, of the clock and of the processor, plus one second for each 2 MB of
            the file; ``NEUROZOO_READ_SECONDS``.
        content_gib: What all arrays of it may come to, and what it may unfold to, in GiB, or else
            ``ratio`` times the file; ``NEUROZOO_READ_CONTENT_GIB``.
        ratio: See ``content_gib``; dimensionless.
        file_gib: Size of the file, in GiB; ``NEUROZOO_READ_FILE_GIB``.
        steps: Instructions of the pickles in it.
        values: Values that are no array's.
        depth: How deep containers are nested.
        members: Members of a zip file.
    """

    memory_gib: float = field(default_factory=_setting("NEUROZOO_READ_MEMORY_GIB", 4.0))
    seconds: float = field(default_factory=_setting("NEUROZOO_READ_SECONDS", 60.0))
    content_gib: float = field(default_factory=_setting("NEUROZOO_READ_CONTENT_GIB", 1.0))
    ratio: float = 100.0
    file_gib: float = field(default_factory=_setting("NEUROZOO_READ_FILE_GIB", 128.0))
    steps: int = 200_000_000
    values: int = 10_000_000
    depth: int = 64
    members: int = 500_000

    @property
    def memory(self) -> int:
        """Memory of the process, in bytes."""
        return int(self.memory_gib * _GIB)

    @property
    def file(self) -> int:
        """Size of the file, in bytes."""
        return int(self.file_gib * _GIB)

    def content(self, size: int) -> int:
        """What a file of ``size`` bytes may come to, in bytes."""
        return int(max(self.content_gib * _GIB, self.ratio * size))

    def time(self, size: int) -> float:
        """What a file of ``size`` bytes may take, in seconds."""
        return self.seconds + size / 2e6
