"""Write a file whole or not at all, or append a line, without following what others may have put in the place."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from neurozoo.files.locks import lock_handle
from neurozoo.files.opening import irregular, opened_folder

__all__ = ["append_line", "check_appendable", "sync_folder", "write_whole"]

_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
_END = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _SAFE
_LOOK = os.O_RDONLY | _SAFE


def write_whole(path: Path, content: bytes, *, inside: Path | None = None) -> None:
    """Write ``content`` to ``path`` and flush it to disk; a reader sees the old file or the new one.

    The content is first written under a new name that nobody can foresee. A link at ``path`` is replaced, and what it
    leads to stays as it is. Several processes may write one path: the last one wins, and none fails. A missing folder
    is made. No link below ``inside``, a folder that holds ``path`` and may be somebody else's, is followed.

    Raises:
        OSError: It cannot be written, or is a device or pipe; the old file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_symlink() and not path.is_file():
        raise OSError(0, "it is not a regular file")
    try:
        with opened_folder(path, inside) as (folder, name):
            _write(folder, Path(name), content)
    except ValueError as reason:
        raise OSError(0, str(reason)) from reason


def append_line(path: Path, line: str, *, inside: Path | None = None, sync: bool = False) -> None:
    """Append a line, without its line end, of UTF-8 in one call, so that those of several processes do not mix.

    A missing file is made; one that is there must be regular, no link, and have no second name. No link below
    ``inside`` is followed; ``sync`` flushes to disk.

    Raises:
        OSError: It cannot be written.
    """
    with _appending(path, inside) as handle:
        os.write(handle, f"{line}\n".encode())
        if sync:
            os.fsync(handle)


def check_appendable(path: Path, *, inside: Path | None = None) -> None:
    """Check that :func:`append_line` can write, and make the file if it is missing.

    Raises:
        OSError: It cannot be written.
    """
    with _appending(path, inside):
        pass


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk; a no-op where folders cannot be opened or flushed."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some network file systems refuse to flush folders
                os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _appending(path: Path, inside: Path | None) -> Iterator[int]:
    try:
        with opened_folder(path, inside) as (folder, name):
            handle = os.open(name, _END, 0o666, dir_fd=folder)
    except ValueError as reason:
        raise OSError(0, str(reason)) from reason
    try:
        if problem := irregular(handle, path, single=True):
            raise OSError(0, problem)
        yield handle
    finally:
        os.close(handle)


def _write(folder: int | None, path: Path, content: bytes) -> None:
    """Write ``path``, which is relative to the open ``folder`` if there is one."""
    _remove_abandoned(folder, path)
    partial, handle = _new_partial(folder, path)
    try:
        with os.fdopen(handle, "wb") as file:  # holds the lock until it is closed
            file.write(content)
            file.flush()
            os.fsync(handle)
            os.replace(partial, path, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial, dir_fd=folder)
        raise
    if folder is None:
        sync_folder(path.parent)
    else:
        with suppress(OSError):
            os.fsync(folder)


def _new_partial(folder: int | None, path: Path) -> tuple[Path, int]:
    """Make a locked partial file next to ``path``; return it and its handle."""
    while True:
        partial = path.with_name(f"{_prefix(path)}{uuid.uuid4().hex}.partial")
        handle = os.open(partial, _NEW, 0o666, dir_fd=folder)
        # Between open and lock another writer may have removed it as abandoned.
        if not lock_handle(handle) or os.fstat(handle).st_nlink:
            return partial, handle
        os.close(handle)


def _remove_abandoned(folder: int | None, path: Path) -> None:
    """Remove the partial files that killed processes left: those that nobody locks."""
    for name in os.listdir(path.parent if folder is None else folder):
        if not (name.startswith(_prefix(path)) and name.endswith(".partial")):
            continue
        with suppress(OSError):  # in use, or removed in the meantime
            handle = os.open(path.with_name(name), _LOOK, dir_fd=folder)
            try:
                if irregular(handle, path, single=True) is None and lock_handle(handle, wait=False):
                    os.unlink(path.with_name(name), dir_fd=folder)
            finally:
                os.close(handle)


def _prefix(path: Path) -> str:
    # Cut, so that a long name does not become too long for the file system.
    return f".{path.name[:50]}."
