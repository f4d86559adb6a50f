"""Peak memory of a piece of work."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["peak_bytes"]


def peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    """The most that tensors made by ``run`` take at a time, beyond what was there before it.

    Read from the allocator on a GPU, from the profiler's record of each allocation and release on the CPU. Memory other
    than tensors' is not counted.

    Args:
        run: What to run, once.
        device: Where it allocates.

    Returns:
        Bytes; None on other devices.
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
    held = most = 0
    for size in _allocations(profiler):
        held += size
        most = max(most, held)
    return most


def _allocations(profiler: profile) -> list[int]:
    """Bytes of each allocation, and of each release below 0, in the order in which they were made."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
    found = [event for event in events if event.get("name") == "[memory]" and event["args"]["Device Type"] == 0]
    return [int(event["args"]["Bytes"]) for event in sorted(found, key=lambda event: event["ts"])]
