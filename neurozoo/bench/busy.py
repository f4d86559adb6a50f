"""What a training step takes on an idle machine, and while other processes compute."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch

from neurozoo.bench.training import training_step
from neurozoo.errors import NeurozooError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.device import choose_device
from neurozoo.runs.threads import thread_waiting
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import prepare_task
from neurozoo.training.train import own_random_numbers

__all__ = ["BUSY", "BusyCost", "measure_busy", "spinning"]

BUSY = 2
"""How many processes compute for the page of ``neurozoo bench page``."""
LIMIT = 60.0
"""Seconds after which no further step is begun: one whose threads wait in vain can take longer than this."""

# Ends when its standard input does, which is also when the process that started it is killed.
_SPIN = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
print("spinning", flush=True)
while True:
    pass
"""


@dataclass(frozen=True)
class BusyCost:
    """A recipe's training step with and without other processes that compute.

    Attributes:
        recipe: Its name.
        processes: How many other processes computed, each in one thread.
        threads: Threads of torch.
        cores: Cores that this process may use.
        waiting: What decides how OpenMP's threads wait.
        batch_size: Samples a step.
        idle_rounds: How many steps were timed without the other processes.
        busy_rounds: How many with them.
        idle_ms: Median time of a step without them, in milliseconds.
        busy_ms: Median time of a step with them, in milliseconds.
    """

    recipe: str
    processes: int
    threads: int
    cores: int
    waiting: str
    batch_size: int
    idle_rounds: int
    busy_rounds: int
    idle_ms: float
    busy_ms: float

    @property
    def slowdown(self) -> float:
        """How many times as long a step takes with the other processes, dimensionless."""
        return self.busy_ms / self.idle_ms

    @property
    def fair_slowdown(self) -> float:
        """The same if all threads, torch's and the others', had equal shares of the cores; dimensionless."""
        return max(1.0, (self.threads + self.processes) / max(self.threads, self.cores))


def measure_busy(recipe: Recipe, processes: int, *, rounds: int = 15, limit: float = LIMIT) -> BusyCost:
    """Time a recipe's training step, first as the machine is, then while other processes compute.

    The machine should have nothing else to do. GPUs do the same work in both measurements; what differs there is
    the time to launch it. After ``limit`` seconds no further step of a measurement is begun; one is always timed.

    Raises:
        UserError: The data or the device cannot be used.
        NeurozooError: The other processes could not be started.
    """
    device = choose_device(recipe.training.device)
    experiment = open_experiment(recipe)
    size = recipe.training.batch_size
    with own_random_numbers(recipe):
        batch = next(iter(experiment.view.batches("train", size))).to(device)
        model = experiment.build().to(device)
        prepare_task(model, experiment.view, device)
        with training_step(model, make_optimizer(recipe, model), batch, recipe) as step:

            def finished_step() -> None:
                step()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)

            finished_step()  # compiles, and takes memory from the system
            idle = _timed(finished_step, rounds, limit)
            with spinning(processes):
                busy = _timed(finished_step, rounds, limit)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return BusyCost(
        recipe.name, processes, torch.get_num_threads(), cores, thread_waiting().describe(), size,
        len(idle), len(busy), median(idle), median(busy),
    )  # fmt: skip


@contextmanager
def spinning(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep so many processes busy with a loop in pure Python until the context is left.

    Raises:
        NeurozooError: One could not be started.
    """
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SPIN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            started.append(process)
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != b"spinning\n":
                raise NeurozooError(f"a process that keeps the machine busy ended with status {process.wait()}")
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def _timed(step: Callable[[], None], rounds: int, limit: float) -> list[float]:
    """Return milliseconds of one step after another, one at least."""
    times: list[float] = []
    begun = time.perf_counter()
    while not times or (len(times) < rounds and time.perf_counter() - begun < limit):
        started = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - started))
    return times
