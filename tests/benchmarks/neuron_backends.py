"""Time and memory of the backends' neurons, forward and backward, side by side.

usage: python tests/benchmarks/neuron_backends.py [--backends NAME ...] [--steps T ...] [--threads N] [--rounds N]
       [--repeated] [--json]

All get the same currents [T, 256, 60, 128], a threshold of 0.8, and the same gradient of their spikes; the neuron is
the default LIFSpec. They take turns in one process, so that what slows the machine down for a while slows all of them;
a turn begins with a run that is not timed, for memory that the system took back in between is slow to come by. Medians
are shown: of a forward without a gradient, and of forward and backward to the currents. Beside each stands how many
times as long it takes as copying two such tensors into memory that is there already, and how many times as long, and as
much memory, as the first backend. Memory is the most that tensors take at a time in forward and backward, beyond what
was there before, by torch's own account; the few MiB in which numba's kernels compute are not in it.
--repeated gives all of them one current, expanded over T, as SMILE does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch

from neurozoo.compare.memory import peak_bytes
from neurozoo.interfaces import LIFSpec, Neuron
from neurozoo.registry import default_registry

BACKENDS = ("numba", "torch", "spikingjelly", "snntorch", "norse")
SHAPE = (256, 60, 128)
THRESHOLD = 0.8


@dataclass(frozen=True)
class Cost:
    """What a neuron takes at one T.

    Attributes:
        forward_ms: Median time of a forward without a gradient.
        both_ms: Median time of forward and backward.
        peak_mib: Most memory of forward and backward.
    """

    forward_ms: float
    both_ms: float
    peak_mib: float


@dataclass(frozen=True)
class Costs:
    """What several neurons take at one T.

    Attributes:
        steps: T.
        copies_ms: Median time of copying two tensors of the currents' size.
        of: By the neuron's name.
    """

    steps: int
    copies_ms: float
    of: Mapping[str, Cost]


def measure(
    neurons: Mapping[str, Neuron], steps: int, shape: Sequence[int] = SHAPE, rounds: int = 15, repeated: bool = False
) -> Costs:
    """Let neurons take turns.

    Args:
        neurons: By name.
        steps: T.
        shape: Of one step's currents, ``[B, ...]``.
        rounds: How often each is timed.
        repeated: Whether all steps have the same current, expanded.
    """
    random = torch.Generator().manual_seed(0)
    leaf = torch.randn(1 if repeated else steps, *shape, generator=random).mul_(1.5).add_(0.5).requires_grad_()
    weights = torch.randn(steps, *shape, generator=random)
    copied = torch.zeros_like(weights), torch.zeros_like(weights)

    def forward(neuron: Neuron) -> None:
        with torch.no_grad():
            neuron.scan(leaf.expand(steps, *shape), None, THRESHOLD)

    def both(neuron: Neuron) -> None:
        spikes = neuron.scan(leaf.expand(steps, *shape), None, THRESHOLD)[0]  # as the layer does
        torch.autograd.grad(spikes, leaf, weights)

    def copies() -> None:
        for goal in copied:
            goal.copy_(weights)

    peaks: dict[str, int] = {}
    for name, neuron in neurons.items():
        both(neuron)  # what is made once
        peaks[name] = peak_bytes(partial(both, neuron), leaf.device) or 0
    forwards: dict[str, list[float]] = {name: [] for name in neurons}
    boths: dict[str, list[float]] = {name: [] for name in neurons}
    copying: list[float] = []
    for _ in range(rounds):
        copying.append(milliseconds(copies))
        for name, neuron in neurons.items():
            both(neuron)
            forwards[name].append(milliseconds(partial(forward, neuron)))
            boths[name].append(milliseconds(partial(both, neuron)))
    costs = {name: Cost(median(forwards[name]), median(boths[name]), peaks[name] / 2**20) for name in neurons}
    return Costs(steps, median(copying), costs)


def milliseconds(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)


def table(costs: Costs) -> str:
    """For people to read; see the top of this file."""
    first = next(iter(costs.of.values()))
    head = ("", "forward", "of copies", "and backward", "of copies", "of first", "peak", "of first")
    rows = [head]
    for name, cost in costs.of.items():
        rows.append(
            (
                name,
                f"{cost.forward_ms:.1f} ms",
                f"{cost.forward_ms / costs.copies_ms:.2f}",
                f"{cost.both_ms:.1f} ms",
                f"{cost.both_ms / costs.copies_ms:.2f}",
                f"{cost.both_ms / first.both_ms:.2f}",
                f"{cost.peak_mib:.0f} MiB",
                f"{cost.peak_mib / first.peak_mib:.2f}",
            )
        )
    lines = [f"T = {costs.steps}: copying two tensors takes {costs.copies_ms:.1f} ms"]
    lines += [f"{row[0]:16}" + "".join(f"{cell:>14}" for cell in row[1:]) for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--steps", nargs="+", type=int, default=[5, 50])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeated", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    registry = default_registry()
    neurons = {name: registry.resolve("backend", name)(LIFSpec()) for name in args.backends}
    found = [measure(neurons, steps, rounds=args.rounds, repeated=args.repeated) for steps in args.steps]
    if args.json:
        print(json.dumps({"shape": SHAPE, **vars(args), "costs": [asdict(costs) for costs in found]}, indent=2))
    else:
        print("\n\n".join(map(table, found)))


if __name__ == "__main__":
    main()
