"""What one answer of a trained model costs: parameters, operations, milliseconds at batch 1."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from neurozoo.core.recording import frozen_statistics
from neurozoo.evaluation.evaluate import data_of
from neurozoo.operations.profiling import chosen, profile_run
from neurozoo.runs.loading import load

__all__ = ["Cost", "measure_cost"]

SAMPLES = 64
"""Samples whose operations are counted, evenly spread over the split."""
TIMED = 20
"""Samples that are timed one by one, after one that is not."""


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        parameters: Learnable ones of the whole model.
        macs: Multiplications with accumulation of numbers that are no spikes and not 0.
        acs: Accumulations that spikes, and counts of events, cause.
        updates: Membrane updates.
        milliseconds: Median time of one sample alone, on one thread of this machine's CPU.
    """

    parameters: int
    macs: float
    acs: float
    updates: float
    milliseconds: float


def measure_cost(run: str | Path, *, split: str = "test") -> Cost:
    """Measure what a trained model costs a sample.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        split: Whose samples.

    Raises:
        UserError: The run or its data cannot be used.
    """
    counts = profile_run(run, split=split, samples=SAMPLES).network
    trained = load(run)
    model, samples = trained.module.cpu().eval(), data_of(trained).split(split)
    places = chosen(len(samples), TIMED + 1)
    times, threads = [], torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with torch.no_grad(), frozen_statistics(model):
            for place in places:
                batch = samples.batch(place[None])
                begin = time.perf_counter()
                model(batch)
                times.append(time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return Cost(
        counts.parameters,
        counts.a_sample(counts.macs + counts.attention + sum(each.macs or 0 for each in counts.uncounted)),
        counts.a_sample(counts.acs),
        counts.a_sample(counts.updates),
        1e3 * median(times[1:] or times),
    )
