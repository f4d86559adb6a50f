"""Timing side by side: what slows the machine down for a while slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["in_turns"]


def in_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, device: torch.device | None = None
) -> dict[str, list[float]]:
    """Time runs alternately, and return milliseconds by name, one a round.

    Each timed run follows one that is not timed, as memory that the system took back meanwhile is slow to get.
    """

    def wait() -> None:
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)

    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            wait()
            started = time.perf_counter()
            run()
            wait()
            times[name].append(1000 * (time.perf_counter() - started))
    return times
