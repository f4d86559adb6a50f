"""Peak memory of a piece of work."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_bytes"]


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most bytes that tensors made by ``run`` take at a time, beyond what was there before it.

    Read from the allocator on a GPU, from the profiler's record of each allocation and release on the CPU; None on
    other devices. Memory other than tensors' is not counted.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        run()
        return None
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    # Read here from what an exported trace is made of: exporting takes ten times as long as the run.
    recorded: Any = profiler.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    on_cpu = [event for event in events if event.device_type().name == "CPU"]
    sizes = [event.nbytes() for event in sorted(on_cpu, key=lambda event: event.start_ns())]  # releases below 0
    most: int = max(accumulate(sizes, initial=0))
    return most
