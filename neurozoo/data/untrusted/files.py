"""Open regular files only, so that reading a path a user named cannot block."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from neurozoo.errors import DataError

__all__ = ["open_regular"]


def open_regular(path: Path) -> int:
    """Open a regular file for reading and return its descriptor; symbolic links are followed.

    Raises:
        DataError: It is missing, cannot be read, or is a folder, pipe, socket or device.
    """
    try:
        # Non-blocking: opening a named pipe without a writer would wait for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a file that exists and is readable") from error
    except ValueError as error:
        raise DataError(f"{str(path)!r} is not a path ({error}); give the name of a file") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise DataError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'not a file')}; give a regular file")
    return handle


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
