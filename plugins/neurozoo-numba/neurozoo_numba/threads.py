"""Work in as many threads as torch uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch

__all__ = ["in_threads"]


def in_threads(work: Callable[[int, int], object], blocks: int, most: int) -> None:
    """Do ``work(first, last)`` for all blocks, each thread a run of them; the calling thread takes part.

    Threads are torch's in number, as ``torch.get_num_threads()`` has it at the call, and not in kind: numba's own
    layers may be called from one thread at a time, or end a process that has forked. The work must let go of
    Python's lock, and not matter in which order it is done.

    Args:
        work: Does blocks ``first`` to ``last``, the last one left out.
        blocks: How many there are.
        most: How many threads the work is worth.
    """
    count = max(1, min(torch.get_num_threads(), blocks, most))
    cuts = [blocks * part // count for part in range(count + 1)]
    mine, *others = pairwise(cuts)
    under_way = [_workers().submit(work, *part) for part in others]
    try:
        work(*mine)
    finally:
        for other in under_way:
            other.result()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="neurozoo-numba")


if hasattr(os, "register_at_fork"):
    # A child has its parent's list of threads and none of the threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)
