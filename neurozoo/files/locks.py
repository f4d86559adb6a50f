"""Lock a folder; the operating system releases the lock when the process ends."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lock_folder", "unlock_folder"]


def lock_folder(folder: Path, *, wait: bool = True) -> int | None:
    """Lock a folder and return the handle that holds the lock; None if folders cannot be locked (Windows).

    Args:
        folder: An existing folder.
        wait: Whether to wait while another process holds it.

    Raises:
        OSError: Another process holds it and ``wait`` is False, or the folder is missing.
    """
    if os.name != "posix":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(handle)
        raise
    return handle


def unlock_folder(lock: int | None) -> None:
    """Release the lock that :func:`lock_folder` returned."""
    if lock is not None:
        os.close(lock)
