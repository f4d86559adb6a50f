"""Write a folder whole or not at all, and remove what killed processes left of theirs."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import Self

from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.text import is_litter
from neurozoo.files.writing import sync_folder

__all__ = ["PartialFolder", "is_free", "partial_name"]


class PartialFolder:
    """A hidden folder that becomes the content of ``dest`` by :meth:`finish`; as a context manager it closes itself.

    If ``dest`` is missing, the hidden folder lies next to it and is renamed. If it is an empty folder, which may be
    the current folder, a link to a folder or a mount point, the hidden folder lies inside, and its entries move up one
    by one, ``marker`` last.

    The writer holds a lock that ends with its process: on the hidden folder, or on ``dest`` if that exists. The next
    writer to the same destination thereby distinguishes an abandoned folder, which it removes, from one in use.

    Args:
        dest: Destination; missing, or free (:func:`is_free`).
        marker: The entry by which readers recognise the folder.

    Attributes:
        path: The folder until it is finished.

    Raises:
        BlockingIOError: Another process is writing to ``dest``.
        OSError: ``dest`` is not a free folder, or it or its parent cannot be written.
    """

    def __init__(self, dest: Path, *, marker: str = "") -> None:
        self._dest = _own_name(dest)
        self._marker = marker
        self._existing = self._dest.exists()
        self._finished = False
        self.lock: int | None
        if self._existing:
            self.lock = lock_folder(self._dest, wait=False)
            try:
                self._use_existing()
            except BaseException:
                unlock_folder(self.lock)
                raise
        else:
            self._dest.parent.mkdir(parents=True, exist_ok=True)
            for folder in _partials(self._dest.parent, self._dest.name):
                _remove_abandoned(folder)
            self.path, self.lock = self._make()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _use_existing(self) -> None:
        if not is_free(self._dest):
            raise FileExistsError(0, "it is not an empty folder")
        # Whoever left these is gone, as the lock is ours; without locks they may be in use.
        for folder in _partials(self._dest, self._dest.name) if self.lock is not None else ():
            shutil.rmtree(folder, ignore_errors=True)
        self.path = self._dest / partial_name(self._dest.name)
        self.path.mkdir()

    def _make(self) -> tuple[Path, int | None]:
        while True:
            path = self._dest.with_name(partial_name(self._dest.name))
            path.mkdir()
            try:
                lock = lock_folder(path)
            except FileNotFoundError:  # another writer removed it as abandoned before it was locked
                continue
            except BaseException:
                path.rmdir()
                raise
            if path.exists():
                return path, lock
            unlock_folder(lock)

    def finish(self) -> None:
        """Put the content in its place, and flush the folders to disk. The lock is held until :meth:`close`.

        Raises:
            OSError: It cannot be renamed, for example because another writer was first.
        """
        sync_folder(self.path)
        if self._existing:
            for entry in sorted(self.path.iterdir(), key=lambda entry: entry.name == self._marker):
                entry.rename(self._dest / entry.name)
            self.path.rmdir()
            sync_folder(self._dest)
        else:
            self.path.rename(self._dest)
            sync_folder(self._dest.parent)
        self._finished = True

    def close(self) -> None:
        """Remove the hidden folder unless it was finished, and release the lock unless :meth:`take_lock` took it."""
        if not self._finished:
            shutil.rmtree(self.path, ignore_errors=True)
        unlock_folder(self.take_lock())

    def take_lock(self) -> int | None:
        """Return the lock, which then holds for ``dest`` until the caller releases it."""
        lock, self.lock = self.lock, None
        return lock


def is_free(folder: Path) -> bool:
    """Return whether a new folder can be written there: missing, or empty but for files that nobody asked for.

    Raises:
        OSError: It cannot be read.
    """
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    partials = set(_partials(folder, _own_name(folder).name))
    return all(entry in partials or is_litter(entry.name) for entry in folder.iterdir())


def _own_name(folder: Path) -> Path:
    """Return the path of a folder without links and dots, so that its name and its parent are its own."""
    try:
        return folder.resolve()
    except RuntimeError as error:  # links that lead to each other
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from error


def partial_name(name: str) -> str:
    """Return a new hidden name for what is to become, or was, ``name``."""
    # The name is cut, so that a long one does not become too long for the file system.
    return f".{name[:50]}.{uuid.uuid4().hex[:8]}.partial"


def _partials(parent: Path, name: str) -> list[Path]:
    """Return the hidden folders in ``parent`` that are meant for ``name``."""
    return [
        entry
        for entry in parent.iterdir()
        if entry.name.startswith(f".{name[:50]}.") and entry.suffix == ".partial"
        and entry.is_dir() and not entry.is_symlink()
    ]  # fmt: skip


def _remove_abandoned(folder: Path) -> None:
    try:
        lock = lock_folder(folder, wait=False)
    except OSError:  # in use, or removed in the meantime
        return
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        unlock_folder(lock)
