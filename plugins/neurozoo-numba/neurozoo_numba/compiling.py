"""Compile functions with numba, and cache them on disk if possible."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc, njit

__all__ = ["called_by_address", "for_arguments", "kept_on_disk"]

PATIENCE = 3.0
"""Seconds of compilation after which the user gets a message; loading from the cache takes less."""


def kept_on_disk(function: Any, options: Any) -> Any:
    """Return a function for numba to compile, cached on disk if a folder can be written.

    numba's cache is keyed by the function's name and checks only the function's own file. The name therefore gets a
    digest of all files of its package and of this one, whose code is compiled into it.
    """
    _name_with_sources(function)
    try:
        return njit(**options, cache=True)(function)
    except RuntimeError:  # no folder
        return njit(**options)(function)


def called_by_address(function: Any, signature: Any, options: Any) -> int:
    """Compile a C function, cached on disk likewise, and return its address."""
    _name_with_sources(function)
    with _message_if_long():
        try:
            made: Any = cfunc(signature, **options, cache=True)(function)
        except (RuntimeError, OSError):  # no folder can be written, or the disk is full
            made = cfunc(signature, **options)(function)
    _CALLED.append(made)
    address: Any = made.address
    return int(address)


def for_arguments(kernel: Any, signature: tuple[Any, ...]) -> Any:
    """Compile a kernel for arguments of these types; later processes load it from numba's cache."""
    try:
        with _message_if_long():
            kernel.compile(signature)
    except OSError:  # the cache cannot be written, such as on a full disk, but the kernel is compiled
        if signature not in kernel.overloads:
            raise
    return kernel


_CALLED: list[Any] = []  # keeps the code at the addresses


def _name_with_sources(function: Any) -> None:
    function.__qualname__ = f"{function.__qualname__}_{_sources(Path(function.__code__.co_filename).parent)}"


@contextmanager
def _message_if_long() -> Iterator[None]:
    timer = threading.Timer(PATIENCE, _send_message)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache
def _send_message() -> None:
    """Once in a process."""
    logging.getLogger(__package__).warning(
        "numba is compiling for this processor, which can take a minute; later processes take it from numba's cache"
    )


@cache
def _sources(package: Path) -> str:
    """Return a digest of the code of a package and of this one."""
    digest = hashlib.sha256()
    for folder in dict.fromkeys((package, Path(__file__).parent)):
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
