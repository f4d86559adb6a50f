"""Measure which functions of a library a call enters."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

__all__ = ["library_calls"]


def library_calls(run: Callable[[], object], libraries: Sequence[str]) -> dict[str, int]:
    """Run a function, and count the Python functions of some libraries that it enters.

    Inherited methods count for the library that defines them. Compiled code, such as a kernel or a scripted
    function, and other threads are not counted.

    Args:
        run: The function, called once in this thread.
        libraries: Import names, such as ``"mylib"``; their submodules count too.

    Returns:
        Number of calls by function, ``"module:qualified name"``, sorted by name.

    Example:
        >>> library_calls(lambda: fnmatch.filter(["a.py"], "*.py"), ["fnmatch"])
        {'fnmatch:filter': 1, ...}
    """
    counts: Counter[str] = Counter()
    prefixes = tuple(f"{name}." for name in libraries)

    def count(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        module = frame.f_globals.get("__name__") or ""
        # Comprehensions and lambdas belong to the enclosing function.
        if (module in libraries or module.startswith(prefixes)) and not frame.f_code.co_name.startswith("<"):
            counts[f"{module}:{frame.f_code.co_qualname}"] += 1

    former = sys.getprofile()
    sys.setprofile(count)
    try:
        run()
    finally:
        sys.setprofile(former)
    return dict(sorted(counts.items()))
