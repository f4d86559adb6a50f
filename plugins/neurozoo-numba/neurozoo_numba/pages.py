"""Memory for large results, in large pages."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from functools import cache

from torch import Tensor

__all__ = ["empty"]

LARGE = 4 * 2**20
"""Bytes from which on large pages are asked for, as numpy does."""


def empty(like: Tensor, *shape: int) -> Tensor:
    """``like.new_empty(shape)``, dense, in large pages where the system gives some.

    Memory of this size is new each time, and the system clears it at the first touch of each page: with pages of 4
    KiB that takes several times as long as the neurons do. Linux gives larger ones to those who ask (``madvise``).
    """
    tensor = like.new_empty(shape)
    size = tensor.numel() * tensor.element_size()
    if size >= LARGE and (advise := _advise()):
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        advise(start, tensor.data_ptr() + size - start, mmap.MADV_HUGEPAGE)  # where it is refused, pages are small
    return tensor


@cache
def _advise() -> Callable[[int, int, int], int] | None:
    if not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is not None:
        madvise.argtypes, madvise.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int
    return madvise
