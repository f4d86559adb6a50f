"""What reading a store takes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import torch

from neurozoo.bench.interleaved import in_turns
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.errors import DataError

__all__ = ["DataCost", "measure_data"]


@dataclass(frozen=True)
class DataCost:
    """What reading batches takes.

    Attributes:
        path: The store.
        split: What was read of it.
        samples: How many the split has.
        batch_size: Samples a batch.
        batch_mib: What a batch holds, in MiB.
        rounds: How many batches were timed.
        in_order_ms: Median time of a batch, in the store's order.
        shuffled_ms: The same in a new order, as training reads.
        copy_ms: Median time of copying as many bytes in memory.
    """

    path: str
    split: str
    samples: int
    batch_size: int
    batch_mib: float
    rounds: int
    in_order_ms: float
    shuffled_ms: float
    copy_ms: float


def measure_data(store: Store, *, split: str = "train", batch_size: int = 256, rounds: int = 15) -> DataCost:
    """Time reading batches of all signals.

    Raises:
        DataError: There is no such split, or it has no two batches of that size.
    """
    view = DataView(store)
    samples = len(view.split(split))
    most = samples // batch_size // 2  # each timed batch has one before it that is not
    if most < 1:
        raise DataError(
            f"{store.path}: {split} has {samples} samples, and two batches take {2 * batch_size}; give a smaller "
            "--batch-size"
        )
    rounds = min(rounds, most)
    ordered, shuffled = (view.batches(split, batch_size, order) for order in (None, torch.Generator().manual_seed(0)))
    signals = next(iter(view.batches(split, batch_size))).signals
    sources = [signal.values.contiguous() for signal in signals.values()]
    goals = [torch.zeros_like(x) for x in sources]

    def copy() -> None:
        for goal, source in zip(goals, sources, strict=True):
            goal.copy_(source)

    runs = {"in order": lambda: next(ordered), "shuffled": lambda: next(shuffled), "copy": copy}
    times = {name: median(each) for name, each in in_turns(runs, rounds).items()}
    size = sum(x.numel() * x.element_size() for x in sources) / 2**20
    return DataCost(
        str(store.path), split, samples, batch_size, size, rounds, times["in order"], times["shuffled"], times["copy"]
    )
