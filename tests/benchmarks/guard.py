"""Whether what was made fast is still: the fused backend and SMILE's step, each beside its plain form.

usage: python tests/benchmarks/guard.py

Ratios of medians, of runs that take turns in one process on one thread. The exit status is 1 where one is below two
thirds of what it was when its line here was written; such a one is measured again first, as machines have moods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import torch

from neurozoo.bench.neurons import measure_neurons
from neurozoo.bench.training import TrainingCost, measure_training
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry

TRIES = 3


def fused(repeated: bool) -> float:
    """How many times as long the core's neurons take as numba's, forward and backward."""
    costs = measure_neurons(["numba", "torch"], 5, shape=(64, 60, 128), rounds=9, repeated=repeated)
    ours, plain = costs.backends
    return plain.both_ms / ours.both_ms


@cache
def smile(encoder: str) -> TrainingCost:
    """SMILE's training with numba's neurons and an encoder; measured once, and again only after ``cache_clear``."""
    overrides = ["backend=numba", "training.batch_size=64", f"model.parts.encoder={encoder}"]
    return measure_training(load_recipe("smile_mosei", overrides, registry=default_registry()), rounds=5)


def step(encoder: str) -> float:
    """How many times as long the plain step of SMILE takes, with the core's neurons."""
    cost = smile(encoder)
    return (cost.plain_step_ms or 0.0) / cost.step_ms


def one(encoder: str) -> float:
    """How many times as long the plain form takes to evaluate one sample."""
    cost = smile(encoder)
    return (cost.plain_one_ms or 0.0) / cost.one_ms


GUARDED: dict[str, tuple[Callable[[], float], float]] = {
    "numba's neurons against torch's, T = 5": (lambda: fused(False), 6.0),
    "the same, one current repeated": (lambda: fused(True), 8.0),
    "smile_mosei's step with numba's neurons against its plain form": (lambda: step("torch-blocks"), 1.65),
    "the same, with neurozoo-smile-numba": (lambda: step("numba-blocks"), 2.5),
    "evaluating one sample, with neurozoo-smile-numba": (lambda: one("numba-blocks"), 2.6),
}
"""What is measured, and how many times ahead it was."""


def main() -> int:
    torch.set_num_threads(1)
    behind = False
    for name, (measure, was) in GUARDED.items():
        least = was * 2 / 3
        found = measure()
        for _ in range(TRIES - 1):
            if found >= least:
                break
            smile.cache_clear()
            found = max(found, measure())
        print(f"{name}: {found:.2f}, at least {least:.2f}")
        behind |= found < least
    return int(behind)


if __name__ == "__main__":
    sys.exit(main())
