"""Write a folder under a temporary name next to its destination, and remove those of killed processes."""

from __future__ import annotations

import glob
import os
import shutil
import uuid
from pathlib import Path

from neurozoo.files.locks import lock_folder, unlock_folder

__all__ = ["PartialFolder"]


class PartialFolder:
    """A new, hidden folder next to ``dest``, renamed to ``dest`` by :meth:`finish`.

    The writer holds a lock on it that ends with its process. The next writer to the same destination thereby
    distinguishes an abandoned folder, which it removes, from one in use.

    Args:
        dest: Destination; missing, or an empty folder.

    Attributes:
        path: The folder until it is finished.

    Raises:
        OSError: The parent folder of ``dest`` cannot be written.
    """

    def __init__(self, dest: Path) -> None:
        self._dest = dest
        dest.parent.mkdir(parents=True, exist_ok=True)
        for folder in dest.parent.glob(f".{glob.escape(dest.name)}.*.partial"):
            _remove_abandoned(folder)
        self.path, self._lock = self._make()

    def _make(self) -> tuple[Path, int | None]:
        while True:
            path = self._dest.parent / f".{self._dest.name}.{uuid.uuid4().hex[:8]}.partial"
            path.mkdir()
            lock = lock_folder(path)
            # Between mkdir and lock another writer may have removed it as abandoned.
            if path.exists():
                return path, lock
            unlock_folder(lock)

    def finish(self) -> None:
        """Rename it to the destination, and flush both folders to disk.

        Raises:
            OSError: It cannot be renamed, for example because another writer was first.
        """
        _sync(self.path)
        if self._dest.exists():
            self._dest.rmdir()
        self.path.rename(self._dest)
        _sync(self._dest.parent)

    def close(self) -> None:
        """Remove the folder unless it was finished, and release the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        unlock_folder(self._lock)


def _remove_abandoned(folder: Path) -> None:
    try:
        lock = lock_folder(folder, wait=False)
    except OSError:  # in use, or removed in the meantime
        return
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        unlock_folder(lock)


def _sync(folder: Path) -> None:
    """Flush a folder's entries to disk; a no-op if folders cannot be opened (Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
