"""Run work in as many threads as torch uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import torch

__all__ = ["in_threads"]

RUNS = 4
"""Runs of blocks per thread, so that a late or slow thread can do fewer."""


def in_threads(work: Callable[[int, int], object], blocks: int, most: int) -> None:
    """Do ``work(first, last)`` for all blocks, each thread a few runs of them; the calling thread takes part.

    The number of threads is ``torch.get_num_threads()`` at the call. numba's own threading layers are not used: they
    may be called from one thread at a time, or end a process that has forked. The work must release the GIL and be
    independent of the order.

    Args:
        work: Does blocks ``first`` to ``last``, excluded.
        blocks: Number of blocks.
        most: Largest useful number of threads.
    """
    count = max(1, min(torch.get_num_threads(), blocks, most))
    if count == 1:
        work(0, blocks)
        return
    parts = min(blocks, count * RUNS)
    cuts = pairwise([blocks * part // parts for part in range(parts + 1)])
    untaken = iter(list(cuts))  # a list iterator is thread-safe

    def some() -> None:
        for run in untaken:
            work(*run)

    under_way: list[Future[None]] = []
    try:
        for _ in range(count - 1):
            under_way.append(_workers().submit(some))
        some()
    finally:
        # Also after an error: no more work starts, and the caller's memory is in use until all threads are done.
        for _ in untaken:
            pass
        wait(under_way)
    for other in under_way:
        other.result()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="neurozoo-numba")


if hasattr(os, "register_at_fork"):
    # A forked child has the pool but none of its threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)
