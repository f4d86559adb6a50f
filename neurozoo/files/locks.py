"""Lock a folder or an open file; the operating system releases the lock when the process ends."""

from __future__ import annotations

import errno
import os
import warnings
from functools import cache
from pathlib import Path

__all__ = ["is_locked", "lock_folder", "lock_handle", "unlock_folder"]

_HELD = frozenset({errno.EWOULDBLOCK, errno.EAGAIN})
_NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL})


def lock_folder(folder: Path, *, wait: bool = True) -> int | None:
    """Lock a folder and return the handle that holds the lock, for :func:`unlock_folder`.

    The lock belongs to the folder itself: it holds through a renaming.

    Args:
        folder: An existing folder.
        wait: Whether to wait while another process holds the lock.

    Returns:
        The handle; None where folders cannot be locked: on Windows, and on file systems without locks, which is
        warned of once.

    Raises:
        BlockingIOError: Another process holds it and ``wait`` is False.
        OSError: The folder is missing or cannot be opened.
    """
    if os.name != "posix":
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if lock_handle(handle, wait=wait):
            return handle
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def lock_handle(handle: int, *, wait: bool = True) -> bool:
    """Lock an open file or folder until its handle is closed; return False where there are no locks.

    Raises:
        BlockingIOError: Another process holds the lock and ``wait`` is False.
    """
    if os.name != "posix":
        return False
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in _HELD:
            raise BlockingIOError(error.errno, "another process holds its lock") from error
        if error.errno not in _NO_LOCKS:
            raise
        _warn_of_no_locks(error.strerror)
        return False
    return True


def is_locked(folder: Path) -> bool | None:
    """Return whether a process holds the lock of a folder; None where folders cannot be locked.

    The question is a shared lock of a moment, so that several processes may ask at once. A process that locks the
    folder in that moment without waiting fails.

    Raises:
        OSError: The folder is missing or cannot be opened.
    """
    if os.name != "posix":
        return None
    import fcntl

    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return True
        if error.errno in _NO_LOCKS:
            return None
        raise
    finally:
        os.close(handle)
    return False


def unlock_folder(lock: int | None) -> None:
    """Release the lock that :func:`lock_folder` returned."""
    if lock is not None:
        os.close(lock)


@cache
def _warn_of_no_locks(reason: str | None) -> None:
    warnings.warn(
        f"this file system has no locks ({reason}); let no second process write to the same folder", stacklevel=4
    )
