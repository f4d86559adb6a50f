"""A case on data-parallel training: two real processes on this machine, each with half of a batch."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, distributed

from neurozoo.runs.checkpoint import read_tensors
from neurozoo.testing.backend.data_parallel_worker import NOT_HERE, RANKS, Job, train
from neurozoo.testing.backend.inputs import same
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.findings import ConformanceError, NotRun

__all__ = ["PAIR_CASES"]

TIMEOUT = 90.0
"""Seconds after which the processes are ended: many times what they need on one slow core."""
GRACE = 30.0
"""Seconds that a process has to end by itself after the other was ended by a signal."""
TOLERANCE = 1e-9
"""Of gradients and weights in float64, relative to the largest: two halves add up in another order than a whole."""


def a_data_parallel_pair(subject: Subject) -> None:
    """Two processes with half a batch each train as one process does; DistributedDataParallel has its defaults.

    By default it broadcasts buffers, so that a membrane kept in one is overwritten by another process's.
    """
    target = _importable(subject)
    if not (distributed.is_available() and distributed.is_gloo_available()):
        raise NotRun("this torch has no torch.distributed with gloo")
    spec = subject.usual()
    whole = train(subject.make, spec, rank=None)
    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(target, asdict(spec), rank, folder) for rank in range(RANKS)]
        _run(jobs)
        halves = [read_tensors(job.results)[0] for job in jobs]
    for name, want in whole.items():  # in the order in which they were computed
        if name.startswith("spikes"):
            same(torch.cat([half[name] for half in halves], dim=1), want, f"{name}, of two processes and of one")
            subject.compared += want.numel()
            continue
        for rank, half in enumerate(halves):
            subject.allow(_share(half[name], want), TOLERANCE, f"{name}, of process {rank} of a pair")


PAIR_CASES: tuple[Callable[[Subject], None], ...] = (a_data_parallel_pair,)


def _importable(subject: Subject) -> str:
    """The class as ``module:qualname``, by which another process finds it."""
    target = subject.candidate.target
    module, name = getattr(target, "__module__", ""), getattr(target, "__qualname__", "")
    try:
        found = reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not target or module == "__main__":
        raise NotRun(f"another process cannot import {name or target!r}; define it at the top of a module")
    return f"{module}:{name}"


def _run(jobs: Sequence[Job]) -> None:
    """Run a process a job; end all where one fails or hangs."""
    # The child finds what this process finds, a class in a test's own folder included.
    paths = os.pathsep.join(path for path in (os.getcwd() if p == "" else p for p in sys.path))
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "neurozoo.testing.backend.data_parallel_worker"]
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
        # Ended by a signal, as happens to one whose partner is gone: what ended the partner is the better answer.
        statuses = [_status_within(process, GRACE) for process in processes]
    ranks = sorted(range(len(statuses)), key=lambda rank: (statuses[rank] or 0) < 0)
    for rank in ranks:
        status, log = statuses[rank], logs[rank]
        told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it says nothing"]
        if status == NOT_HERE:
            raise NotRun(told[-1])
        if status:
            raise ConformanceError(f"process {rank} of a data-parallel pair ended with status {status}: {told[-1]}")
    if None in statuses:
        raise ConformanceError(
            f"a data-parallel pair did not end within {TIMEOUT:.0f} s; a process that does not take part in "
            "each step, or waits for something of its own, makes the other wait for ever"
        )


def _status_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _share(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max().clamp_min(1e-12))
