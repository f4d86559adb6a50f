"""A lock on a folder, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["lock_folder", "unlock_folder"]


def lock_folder(folder: Path, *, wait: bool = True) -> int | None:
    """A handle that holds the folder's lock; None where folders cannot be locked (Windows).

    Args:
        folder: An existing one.
        wait: Whether to wait for another holder.

    Raises:
        OSError: Another process holds it and there is no waiting, or the folder is gone.
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
    """Let go of what :func:`lock_folder` gave."""
    if lock is not None:
        os.close(lock)
