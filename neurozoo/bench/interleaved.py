"""Timing side by side: what slows the machine down for a while slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

__all__ = ["in_turns", "page_faults"]


def in_turns(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device | None = None,
    clock: Callable[[], float] = time.perf_counter,
    least: float = 0.0,
) -> dict[str, list[float]]:
    """Time runs alternately, and return milliseconds by name, one a round.

    Each timed run follows one that is not timed, as memory that the system took back meanwhile is slow to get. With
    ``time.process_time`` as the clock, the time in which other processes ran instead does not count. A run of less than
    ``least`` seconds is repeated until they are over, and its time is the mean: once, it would mostly fill caches.
    """

    def wait() -> None:
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)

    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            wait()
            started, count, elapsed = clock(), 0, 0.0
            while not count or elapsed < least:
                run()
                wait()
                count, elapsed = count + 1, clock() - started
            times[name].append(1000 * elapsed / count)
    return times


def page_faults(run: Callable[[], object], rounds: int) -> int | None:
    """Return the median number of pages that the system gives this process in a run; None where it does not count them.

    Each is new to the process, so that the system clears it first. One of them can be large, of 2 MiB on x86.
    """
    if resource is None:  # pragma: no cover - Windows
        return None
    counts = []
    for _ in range(rounds):
        run()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        run()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return round(median(counts))
