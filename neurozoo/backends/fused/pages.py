"""Memory for large results on a CPU, in large pages, that is used again.

Memory of this size is new each time, and the system clears it at the first touch of each page, which takes longer than
the neurons do. Linux gives larger pages to those who ask (``madvise``), which saves half of that. Blocks that have
become free and are used again save all of it.
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
"""Bytes from which on large pages are asked for, as numpy does."""
KEPT = 32 * 2**20
"""Bytes from which on memory is kept: smaller blocks are kept by the C library."""
SPARE = 1.25
"""How much all blocks may take, of the most that was in use at a time."""


class _Blocks:
    """Blocks of memory, in use and free.

    They become free when the last tensor on them ends: at any time, in any thread, and also in the middle of what the
    same thread does here.
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
        """Let free blocks go until they take no more than so many bytes."""
        with self._lock:
            for size, blocks in list(self._free.items()):
                while blocks and self._kept > most:
                    blocks.pop()
                    self._kept -= size


_blocks = _Blocks()
if hasattr(os, "register_at_fork"):
    # Another thread, which a child does not have, may hold the lock as it forks.
    os.register_at_fork(after_in_child=_blocks.renew_lock)


def empty(like: Tensor, shape: Sequence[int]) -> Tensor:
    """``like.new_empty(shape)``; a large one on a CPU in a block of its size that has become free.

    What is kept and what is in use never take more than :data:`SPARE` of the most that was in use at a time.
    """
    size = math.prod(shape) * like.element_size()
    if size < KEPT or not like.is_cpu:
        return _in_large_pages(like.new_empty(shape))
    block = _blocks.take(size)
    # Tensors of this memory hold the array, and nothing else does: it ends with the last of them.
    array = block.view(like.dtype).numpy()
    weakref.finalize(array, _blocks.give_back, size, block).atexit = False
    return torch.from_numpy(array).view(*shape)


def release() -> None:
    """Give blocks that are free back to the system."""
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
