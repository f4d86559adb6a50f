"""What one answer of a trained model costs: parameters, operations, milliseconds at batch 1."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neurozoo.evaluation.evaluate import data_of
from neurozoo.operations.energy import energy_of
from neurozoo.operations.latency import measure_latency
from neurozoo.operations.profiling import profile_run
from neurozoo.runs.loading import load

__all__ = ["Cost", "measure_cost"]

SAMPLES = 64
"""Samples whose operations are counted, evenly spread over the split."""


@dataclass(frozen=True)
class Cost:
    """What one sample costs.

    Attributes:
        parameters: Learnable ones of the whole model.
        macs: Multiplications with accumulation of numbers that are no spikes and not 0.
        acs: Accumulations that spikes, and counts of events, cause.
        updates: Membrane updates.
        milliseconds: Median time of one sample alone, on one thread of this machine's CPU.
        energy: Of the operations, in nJ: an estimate from published costs, see :mod:`neurozoo.operations.energy`.
    """

    parameters: int
    macs: float
    acs: float
    updates: float
    milliseconds: float
    energy: float


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
    return Cost(
        counts.parameters,
        counts.a_sample(counts.macs + counts.attention + sum(each.macs or 0 for each in counts.uncounted)),
        counts.a_sample(counts.acs),
        counts.a_sample(counts.updates),
        measure_latency(trained, data_of(trained), split=split).milliseconds,
        energy_of(counts).operations / 1000,
    )
