"""Memory for large results on a CPU, in large pages, that is used again.

The allocator returns new memory for each block of this size, and the system clears each page at its first use, which
takes longer than the neurons do. Large pages (``madvise`` on Linux) save half of that, reusing free blocks saves all.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

__all__ = ["KEPT", "LARGE", "SPARE", "empty", "release"]

LARGE = 4 * 2**20
"""Smallest block with large pages, in bytes, as in numpy."""
KEPT = 32 * 2**20
"""Smallest block that is reused, in bytes; the C library reuses smaller ones."""
SPARE = 1.25
"""Limit for free and used blocks together, as a multiple of the most that was in use at a time."""


class _Blocks:
    """Blocks of memory, in use and free.

    A block becomes free with its last tensor: at any time, in any thread, also while this thread holds the lock.
    """

    def __init__(self) -> None:
        self.renew_lock()
        self._free: dict[int, list[Tensor]] = defaultdict(list)
        self._in_use = self._kept = self._most = 0

    def renew_lock(self) -> None:
        self._lock = threading.RLock()

    def take(self, size: int) -> Tensor:
        with self._lock:
            self._in_use += size
            self._most = max(self._most, self._in_use)
            if blocks := self._free[size]:
                self._kept -= size
                return blocks.pop()
            self.keep(int(SPARE * self._most) - self._in_use)
        with torch.inference_mode(False):  # it may be used outside of it later
            return _in_large_pages(torch.empty(size, dtype=torch.uint8))

    def give_back(self, size: int, block: Tensor) -> None:
        with self._lock:
            self._in_use -= size
            self._kept += size
            self._free[size].append(block)

    def keep(self, most: int) -> None:
        """Release free blocks until they take at most ``most`` bytes."""
        with self._lock:
            for size, blocks in list(self._free.items()):
                while blocks and self._kept > most:
                    blocks.pop()
                    self._kept -= size


_blocks = _Blocks()
if hasattr(os, "register_at_fork"):
    # Another thread, which does not exist in the child, may hold the lock during the fork.
    os.register_at_fork(after_in_child=_blocks.renew_lock)


def empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """``like.new_empty(shape)``; a large one on a CPU in a block of its size that has become free.

    What is kept and what is in use never take more than :data:`SPARE` of the most that was in use at a time.
    """
    size = math.prod(shape) * like.element_size()
    if size < KEPT or not like.is_cpu:
        return _in_large_pages(like.new_empty(shape))
    block = _blocks.take(size)
    # Only the tensors on this memory refer to the array, so it is finalised with the last of them.
    array = block.view(like.dtype).numpy()
    weakref.finalize(array, _blocks.give_back, size, block).atexit = False
    return torch.from_numpy(array).view(*shape)


def release() -> None:
    """Return free blocks to the system."""
    _blocks.keep(0)


def _in_large_pages(tensor: Tensor) -> Tensor:
    size = tensor.numel() * tensor.element_size()
    if size >= LARGE and tensor.is_cpu and (advise := _advise()):
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
