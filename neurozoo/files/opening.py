"""Open files that may be somebody else's: regular files only, and on request none reached through a link."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from neurozoo.errors import DataError, UserError

__all__ = ["LARGEST", "open_regular", "opened_folder", "read_bytes", "sha256_of"]

LARGEST = 64 * 2**20
"""Bytes that :func:`read_bytes` reads unless told otherwise; files of text and JSON are far smaller."""

_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # opening a pipe without a writer would wait forever
_FOLDER = getattr(os, "O_DIRECTORY", 0)
_BY_FOLDER = os.open in os.supports_dir_fd


def open_regular(path: Path, *, inside: Path | None = None, error: type[UserError] = DataError) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: The file.
        inside: A folder that may be somebody else's, and that holds ``path``. No link below it is followed, and the
            file must have no second name (hard link), so that the folder cannot lend out files from elsewhere.
        error: Class of the error.

    Raises:
        UserError: Of class ``error``: the file is missing, unreadable, a folder, pipe, socket, device or link.
    """
    flags = os.O_RDONLY | _BINARY | _NO_WAIT | (0 if inside is None else _NO_LINK)
    try:
        with opened_folder(path, inside) as (folder, name):
            handle = os.open(name, flags, dir_fd=folder)
    except (OSError, ValueError) as reason:
        raise error(unreadable(path, reason)) from reason
    problem = irregular(handle, path, single=inside is not None)
    if problem:
        os.close(handle)
        raise error(problem)
    return os.fdopen(handle, "rb")


def read_bytes(
    path: Path, *, limit: int = LARGEST, inside: Path | None = None, error: type[UserError] = DataError
) -> bytes:
    """Read a regular file of at most ``limit`` bytes; the arguments are those of :func:`open_regular`.

    Raises:
        UserError: Of class ``error``: it cannot be opened or read, or is larger.
    """
    with open_regular(path, inside=inside, error=error) as file:
        try:
            raw = file.read(limit + 1)
        except OSError as reason:
            raise error(unreadable(path, reason)) from reason
    if len(raw) > limit:
        raise error(f"{path} has more than {limit:,} bytes, the most that is read of such a file; is it the right one?")
    return raw


def sha256_of(path: Path, *, inside: Path | None = None, error: type[UserError] = DataError) -> str:
    """Return the SHA-256 of a regular file, hexadecimal; arguments and errors are those of :func:`open_regular`."""
    with open_regular(path, inside=inside, error=error) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def opened_folder(path: Path, inside: Path | None) -> Iterator[tuple[int | None, str | Path]]:
    """Yield a handle of the folder that holds ``path`` and the name in it, for the ``dir_fd`` of ``os`` functions.

    With ``inside``, each folder below it is opened in turn without following links. Without, or where the system has
    no such handles (Windows), yields ``None`` and ``path``.

    Raises:
        OSError: A folder is missing, or is a link.
        ValueError: ``path`` is not below ``inside``.
    """
    if inside is None or not _BY_FOLDER:
        yield None, path
        return
    parts = path.relative_to(inside).parts
    if not parts or ".." in parts:
        raise ValueError(f"not a file below {inside}")
    handle = os.open(inside, os.O_RDONLY | _FOLDER)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | _FOLDER | _NO_LINK, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle, parts[-1]
    finally:
        os.close(handle)


def irregular(handle: int, path: Path, *, single: bool) -> str | None:
    """Return what is wrong with an open file that must be a regular one, with a ``single`` name on request."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is {_KINDS.get(stat.S_IFMT(status.st_mode), 'not a file')}; give a regular file"
    if single and status.st_nlink > 1:
        return f"{path} is a hard link to a file that has another name as well; put a copy in its place"
    return None


def unreadable(path: Path, reason: OSError | ValueError) -> str:
    """Describe why ``path`` cannot be opened; a link that must not be followed is named as such."""
    if isinstance(reason, ValueError):
        return f"{str(path)!r} is not a path ({reason}); give the name of a file"
    if os.path.islink(path):  # unlike Path.is_symlink, False for names that are too long
        return f"{path} is a link, which is not followed ({reason.strerror}); put a copy of the file in its place"
    return f"{path} cannot be read ({reason.strerror or reason}); give a file that exists and is readable"


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
