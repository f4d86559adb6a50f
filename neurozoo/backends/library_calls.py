"""Which functions of a library a call really runs, measured and not declared."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

__all__ = ["library_calls"]


def library_calls(run: Callable[[], object], libraries: Sequence[str]) -> dict[str, int]:
    """Run something, and count the Python functions of some libraries that it enters.

    What a subclass inherits counts for the library that wrote it. Not seen are compiled code, such
    as a kernel or a scripted function, and other threads.

    Args:
        run: What to run, once, in this thread.
        libraries: Import names, such as ``"mylib"``; their submodules count too.

    Returns:
        For each function, as ``"module:qualified name"``, how often it was entered; in the order
        of the names.

    Example:
        >>> library_calls(lambda: fnmatch.filter(["a.py"], "*.py"), ["fnmatch"])
        {'fnmatch:filter': 1, ...}
    """
    counts: Counter[str] = Counter()
    inside = tuple(f"{name}." for name in libraries)

    def watch(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        module = frame.f_globals.get("__name__") or ""
        # A comprehension or a lambda is part of the function around it.
        if (module in libraries or module.startswith(inside)) and not frame.f_code.co_name.startswith("<"):
            counts[f"{module}:{frame.f_code.co_qualname}"] += 1

    former = sys.getprofile()
    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(former)
    return dict(sorted(counts.items()))
