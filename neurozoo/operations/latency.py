"""Milliseconds that a trained model takes for one sample alone, on one thread of this machine's processor."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from neurozoo.core.recording import frozen_statistics
from neurozoo.data.view import DataView
from neurozoo.operations.profiling import chosen
from neurozoo.runs.loading import TrainedModel

__all__ = ["Latency", "measure_latency", "processor_name"]

_SAMPLES, _ROUNDS = 20, 3
_SECONDS = 5.0
"""No further sample is begun after so long."""


@dataclass(frozen=True)
class Latency:
    """The time of a forward of one sample, from signals in memory to outputs.

    Attributes:
        milliseconds: Median over samples and rounds.
        samples: How many samples were timed, each alone.
        rounds: How often each was timed.
        threads: Threads of torch.
        processor: Its name.
        backend: Whose neurons ran.
    """

    milliseconds: float
    samples: int
    rounds: int
    threads: int
    processor: str
    backend: str


def measure_latency(trained: TrainedModel, view: DataView, *, split: str = "valid") -> Latency:
    """Time samples that are evenly spread over a split, each in a batch of its own, on the CPU.

    The first forward of each is not timed. Longer samples take longer, so that the median is that of this data.

    Args:
        trained: The model; its statistics stay as they are.
        view: Data that fits the model, with at least one sample in the split.
        split: Whose samples.
    """
    samples, model, times = view.split(split), trained.module.cpu().eval(), []
    done, started = 0, time.monotonic()
    with torch.no_grad(), _one_thread(), frozen_statistics(model):
        for place in chosen(len(samples), _SAMPLES):
            batch = samples.batch(place[None])
            model(batch)
            for _ in range(_ROUNDS):
                before = time.perf_counter()
                model(batch)
                times.append(1000 * (time.perf_counter() - before))
            done += 1
            if time.monotonic() - started > _SECONDS:
                break
    return Latency(round(median(times), 3), done, _ROUNDS, 1, processor_name(), trained.recipe.backend)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def processor_name() -> str:
    """Return what the processor is called, without the name of the machine."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    except (OSError, ValueError):
        found = None
    return (found[1].strip() if found else platform.processor()) or platform.machine() or "unknown"
