"""Forward and backward of every kind of neuron, numba's beside the oracle's; and of many time constants beside one.

usage: python tests/benchmarks/neuron_kinds.py [KIND ...]

Least times of runs that take turns in one process on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
from neurozoo_numba.neuron import NumbaNeuron
from torch import Tensor

from neurozoo.core.kinds import KINDS, LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron

SHAPES = ((5, 64, 60, 128), (50, 8, 60, 128))
ROUNDS = 7


def both(neuron: Neuron, shape: tuple[int, ...], params: dict[str, Tensor] | None = None) -> Callable[[], object]:
    """A forward and backward to the currents."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=random).mul_(1.5).add_(0.5).requires_grad_()
    weights = torch.randn(shape, generator=random)
    return lambda: torch.autograd.grad(neuron.scan(x, None, 0.8, params)[0], x, weights)


def least_ms(runs: list[Callable[[], object]], rounds: int = ROUNDS) -> list[float]:
    """The least time of each, which takes turns with the others."""
    times: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds + 1):
        for run, found in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            if turn:  # the first compiles
                found.append(1e3 * (time.perf_counter() - start))
    return [min(found) for found in times]


def main(kinds: list[str]) -> None:
    torch.set_num_threads(1)
    for kind in kinds or list(KINDS):
        spec = KINDS[kind]()
        for shape in SHAPES:
            ours, oracle = least_ms([both(NumbaNeuron(spec), shape), both(TorchNeuron(spec), shape)])
            print(f"{kind} {list(shape)}: numba {ours:.1f} ms, torch {oracle:.1f} ms, {oracle / ours:.1f}x")
    shape = (100, 8, 200)
    for tau in (2.0, 3.3):  # divided by a power of two, and by another number
        one = both(NumbaNeuron(LIFSpec(tau=tau)), shape)
        many = both(NumbaNeuron(LIFSpec()), shape, {"tau": torch.linspace(1.5, 20, 200)})
        single, several = least_ms([one, many], rounds=50)
        print(
            f"lif {list(shape)}: tau {tau} {single:.3f} ms, 200 different {several:.3f} ms, "
            f"{100 * (several / single - 1):+.0f} %"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
