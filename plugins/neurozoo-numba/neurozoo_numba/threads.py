"""Work in as many threads as torch uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import torch

__all__ = ["in_threads"]

RUNS = 4
"""Runs of blocks a thread: a thread that is late, or has a slower processor, does fewer."""


def in_threads(work: Callable[[int, int], object], blocks: int, most: int) -> None:
    """Do ``work(first, last)`` for all blocks, each thread a few runs of them; the calling thread takes part.

    Threads are torch's in number, as ``torch.get_num_threads()`` has it at the call, and not in kind: numba's own
    layers may be called from one thread at a time, or end a process that has forked. The work must let go of
    Python's lock, and not matter in which order it is done.

    Args:
        work: Does blocks ``first`` to ``last``, the last one left out.
        blocks: How many there are.
        most: How many threads the work is worth.
    """
    count = max(1, min(torch.get_num_threads(), blocks, most))
    if count == 1:
        work(0, blocks)
        return
    parts = min(blocks, count * RUNS)
    cuts = pairwise([blocks * part // parts for part in range(parts + 1)])
    untaken = iter(list(cuts))  # that of a list may be asked by several threads

    def some() -> None:
        for run in untaken:
            work(*run)

    under_way: list[Future[None]] = []
    try:
        for _ in range(count - 1):
            under_way.append(_workers().submit(some))
        some()
    finally:
        # Whatever went wrong: nothing more is begun, and the caller's memory is in use until all are done.
        for _ in untaken:
            pass
        wait(under_way)
    for other in under_way:
        other.result()


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="neurozoo-numba")


if hasattr(os, "register_at_fork"):
    # A child has its parent's list of threads and none of the threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)
