"""Functions compiled once, and kept on disk for later processes where that can be."""

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
"""Seconds after which people are told what they wait for; from the cache it takes less."""


def kept_on_disk(function: Any, options: Any) -> Any:
    """A function that numba is to compile, with its cache on disk where some folder can be written.

    The cache is found by the function's name and looks at the function's own file alone. So the name has a digest of
    all files of its package and of this one: what is compiled into a function is in others too.
    """
    _name_with_sources(function)
    try:
        return njit(**options, cache=True)(function)
    except RuntimeError:  # there is none
        return njit(**options)(function)


def called_by_address(function: Any, signature: Any, options: Any) -> int:
    """Compile a function that others call by its address, as C does; kept on disk likewise."""
    _name_with_sources(function)
    with _told_if_long():
        try:
            made: Any = cfunc(signature, **options, cache=True)(function)
        except (RuntimeError, OSError):  # no folder can be written, or the disk is full
            made = cfunc(signature, **options)(function)
    _CALLED.append(made)
    address: Any = made.address
    return int(address)


def for_arguments(kernel: Any, signature: tuple[Any, ...]) -> Any:
    """A kernel, compiled for arguments of these types; in later processes it comes from numba's cache."""
    try:
        with _told_if_long():
            kernel.compile(signature)
    except OSError:  # it is compiled before it is written to the cache, which a full disk hinders
        if signature not in kernel.overloads:
            raise
    return kernel


_CALLED: list[Any] = []  # what is gone leaves no code at its address


def _name_with_sources(function: Any) -> None:
    function.__qualname__ = f"{function.__qualname__}_{_sources(Path(function.__code__.co_filename).parent)}"


@contextmanager
def _told_if_long() -> Iterator[None]:
    timer = threading.Timer(PATIENCE, _tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@cache
def _tell() -> None:
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
