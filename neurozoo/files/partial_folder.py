"""A folder that is being written: beside its place, locked while its writer lives, and cleared away if it died."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from pathlib import Path

from neurozoo.files.locks import lock_folder, unlock_folder

__all__ = ["PartialFolder"]


class PartialFolder:
    """A new, hidden folder beside ``dest``, which takes its place by :meth:`finish`.

    Its writer holds a lock on it, which ends with the process however that ends. So whoever writes to the same place
    next can tell the leavings of a killed process, which it removes, from the work of a living one.

    Args:
        dest: Where it belongs; missing, or an empty folder.

    Attributes:
        path: Where it is until it is finished.

    Raises:
        OSError: The folder above ``dest`` cannot be written.
    """

    def __init__(self, dest: Path) -> None:
        self._dest = dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        for left in dest.parent.glob(f".{glob.escape(dest.name)}.*.partial"):
            _remove_dead(left)
        self.path, self._lock = self._make()

    def _make(self) -> tuple[Path, int | None]:
        while True:
            path = self._dest.parent / f".{self._dest.name}.{uuid.uuid4().hex[:8]}.partial"
            path.mkdir()
            lock = lock_folder(path)
            if path.exists():  # else another writer came between the last two lines, and took it for a dead one's
                return path, lock
            unlock_folder(lock)

    def finish(self) -> None:
        """Move it to its place, through to the disk.

        Raises:
            OSError: It cannot be, such as when another writer was first.
        """
        _sync(self.path)
        if self._dest.exists():
            self._dest.rmdir()
        self.path.rename(self._dest)
        _sync(self._dest.parent)

    def close(self) -> None:
        """Remove it unless it was finished, and end the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        unlock_folder(self._lock)


def _remove_dead(folder: Path) -> None:
    try:
        lock = lock_folder(folder, wait=False)
    except OSError:  # its writer lives, or it is gone by now
        return
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        unlock_folder(lock)


def _sync(folder: Path) -> None:
    """Make a folder's entries last; nothing to do where folders cannot be opened (Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
