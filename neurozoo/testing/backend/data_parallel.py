"""The case on data-parallel training: two processes on this machine, each with half of every batch.

Each process is this module, run as ``python -m neurozoo.testing.backend.data_parallel JOB``.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from neurozoo.core.kinds import KINDS
from neurozoo.core.layer import MakeNeuron
from neurozoo.core.neuron import NeuronSpec
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.testing.backend.inputs import T, random_currents, same
from neurozoo.testing.backend.models import INPUTS, OUTPUTS, SmallModel
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError, NotRun

RANKS, SAMPLES, STEPS = 2, 8, 3
NOT_HERE = 3
"""Exit status of a process that cannot import the class or meet the other one, which is no fault of the neuron's."""
TIMEOUT = 90.0
"""Seconds after which the processes are killed: many times what they need on one slow core."""
GRACE = 30.0
"""Seconds that a process has to end on its own after a signal ended the other."""
TOLERANCE = 1e-9
"""Of gradients and weights in float64, relative to the largest: two halves are summed in another order than a whole."""


def a_data_parallel_pair(subject: Subject) -> None:
    """Two processes with half a batch each train as one does, every kind that fires.

    DistributedDataParallel has its defaults: it broadcasts buffers, so that a membrane kept in one is overwritten.
    """
    target = _importable(subject)
    if not (distributed.is_available() and distributed.is_gloo_available()):
        raise NotRun("this torch has no torch.distributed with gloo")
    specs = [spec for spec in subject.kinds() if spec.spiking]
    whole = _train_all(subject.make, specs, rank=None)
    with tempfile.TemporaryDirectory() as folder:
        described = [(spec.kind, asdict(spec)) for spec in specs]
        jobs = [_Job(target, described, rank, folder) for rank in range(RANKS)]
        _run(jobs)
        halves = [read_tensors(job.results)[0] for job in jobs]
    for name, want in whole.items():  # in the order in which they were computed
        if " spikes " in name:
            same(torch.cat([half[name] for half in halves], dim=1), want, f"{name}, of two processes and of one")
            subject.compared += want.numel()
            continue
        for rank, half in enumerate(halves):
            share = float((half[name] - want).abs().max() / want.abs().max().clamp_min(1e-12))
            subject.allow(share, TOLERANCE, f"{name}, of process {rank} of a pair")


@dataclass(frozen=True)
class _Job:
    """What one process trains; ``target`` is ``module:qualname``, ``specs`` are kinds and fields."""

    target: str
    specs: list[tuple[str, dict[str, Any]]]
    rank: int
    folder: str

    @property
    def results(self) -> Path:
        """The safetensors file that the process writes."""
        return Path(self.folder) / f"results-{self.rank}.safetensors"


def _train_all(neuron: MakeNeuron, specs: Sequence[NeuronSpec], rank: int | None) -> dict[str, Tensor]:
    """Train a model of each specification, on one half of each batch, or in one process (None) on all of it."""
    results: dict[str, Tensor] = {}
    for spec in specs:
        results |= {f"{spec.kind}: {name}": each for name, each in _train(neuron, spec, rank).items()}
    return results


def _train(neuron: MakeNeuron, spec: NeuronSpec, rank: int | None) -> dict[str, Tensor]:
    """Spikes ``[T, B, OUTPUTS]`` and gradients of three steps of SGD, and the last weights."""
    # float64: halves are rounded differently than the whole, by far too little to flip a spike.
    model = SmallModel(neuron, spec, torch.float64)
    runner = model if rank is None else nn.parallel.DistributedDataParallel(model)
    half = slice(None) if rank is None else slice(rank * SAMPLES // RANKS, (rank + 1) * SAMPLES // RANKS)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    results: dict[str, Tensor] = {}
    for step in range(STEPS):
        x = random_currents(T, SAMPLES, INPUTS, dtype=torch.float64, seed=step)[:, half]
        wanted = random_currents(SAMPLES, OUTPUTS, dtype=torch.float64, seed=step + STEPS)[half]
        optimiser.zero_grad()
        spikes = runner(x)
        nn.functional.mse_loss(spikes.mean(0), wanted).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        results[f"the spikes in step {step}"] = spikes.detach()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None  # every one is used
            results[f"gradient of {name} in step {step}"] = parameter.grad.clone()
    return results | {f"weight {name}": parameter.detach() for name, parameter in model.named_parameters()}


def _importable(subject: Subject) -> str:
    """The class as ``module:qualname``, by which another process imports it."""
    target = subject.candidate.target
    module, name = getattr(target, "__module__", ""), getattr(target, "__qualname__", "")
    try:
        imported = _imported(f"{module}:{name}")
    except (ImportError, AttributeError, ValueError):
        imported = None
    if imported is not target or module == "__main__":
        raise NotRun(f"another process cannot import {name or target!r}; define it at the top of a module")
    return f"{module}:{name}"


def _imported(target: str) -> Any:
    module, _, name = target.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def _run(jobs: Sequence[_Job]) -> None:
    """Run one process per job; end all of them when one fails or hangs."""
    # With this process's path the child can import a class from a test's own folder.
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "neurozoo.testing.backend.data_parallel"]
    logs = [Path(job.folder) / f"stderr-{job.rank}" for job in jobs]
    processes = []
    try:
        for job, log in zip(jobs, logs, strict=True):
            with log.open("wb") as stderr:
                processes.append(
                    subprocess.Popen([*command, json.dumps(asdict(job))], env=env, stdout=stderr, stderr=stderr)
                )
        _wait(processes, logs)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path]) -> None:
    end = time.monotonic() + TIMEOUT
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        if any(process.poll() for process in processes):
            break  # the other would wait for it
        time.sleep(0.02)
    statuses = [process.poll() for process in processes]
    if any(status is not None and status < 0 for status in statuses):
        # A signal ends a process whose partner is gone: what ended the partner is the better answer.
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        statuses = [process.poll() for process in processes]
    for rank in sorted(range(len(statuses)), key=lambda rank: (statuses[rank] or 0) < 0):
        status = statuses[rank]
        lines = logs[rank].read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
        if status == NOT_HERE:
            raise NotRun(lines[-1])
        if status:
            raise ConformanceError(f"process {rank} of a data-parallel pair ended with status {status}: {lines[-1]}")
    if None in statuses:
        raise ConformanceError(
            f"a data-parallel pair did not end within {TIMEOUT:.0f} s; a process that does not take part in "
            "each step, or waits for something of its own, makes the other wait for ever"
        )


def _main() -> int:
    """Do the job that is given as JSON."""
    job = _Job(**json.loads(sys.argv[1]))
    try:
        neuron = _imported(job.target)
    except (ImportError, AttributeError) as error:
        return _not_here(f"another process cannot import it: {error}")
    meeting = (Path(job.folder) / "meeting").as_uri()
    try:
        distributed.init_process_group("gloo", init_method=meeting, rank=job.rank, world_size=RANKS)
    except (RuntimeError, ValueError) as error:
        return _not_here(f"two processes cannot meet here: {error}")
    try:
        specs = [KINDS[kind](**fields) for kind, fields in job.specs]
        write_tensors(job.results, _train_all(neuron, specs, job.rank), {})
    finally:
        distributed.destroy_process_group()
    return 0


def _not_here(why: str) -> int:
    print(why.replace("\n", " "), file=sys.stderr)
    return NOT_HERE


if __name__ == "__main__":
    sys.exit(_main())
