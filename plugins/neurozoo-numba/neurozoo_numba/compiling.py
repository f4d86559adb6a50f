"""Compile functions with numba, and cache them on disk if possible."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.runtime.nrt import rtsys
from numba.core.sigutils import normalize_signature

__all__ = ["called_by_address", "for_arguments", "kept_on_disk"]

PATIENCE = 3.0
"""Seconds of compilation after which the user gets a message; loading from the cache takes less."""


def kept_on_disk(function: Any, options: Any) -> Any:
    """Return a function for numba to compile, cached on disk if a folder can be written.

    numba's cache is keyed by the function's name and checks only the function's own file. The name therefore gets a
    digest of all files of its package and of this one, whose code is compiled into it.
    """
    _name_with_sources(function)
    made = njit(**options)(function)
    with suppress(RuntimeError):  # no folder
        made._cache = _Cache(function)  # type: ignore[no-untyped-call]
    return made


def called_by_address(function: Any, signature: Any, options: Any) -> int:
    """Compile a C function, cached on disk likewise, and return its address."""
    _name_with_sources(function)
    form = normalize_signature(signature)  # type: ignore[no-untyped-call]
    made: Any = CFunc(function, form, {}, options)
    with _message_if_long():
        try:
            made._cache = _Cache(function)  # type: ignore[no-untyped-call]
            made.compile()
        except (RuntimeError, OSError):  # no folder can be written, or the disk is full
            made = CFunc(function, form, {}, options)
            made.compile()
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


class _Cache(FunctionCache):
    """numba's cache of a function on disk, which loads without what compiling needs.

    numba's own imports all its implementations of Python and numpy first, and scipy for those of linear algebra: a
    third of a second of processor time. A compilation imports them in any case.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        rtsys.initialize(target_context)  # loaded code may allocate arrays
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


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
