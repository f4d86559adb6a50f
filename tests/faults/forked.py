"""Runs commands of neurozoo in forked children: limits on time, memory and file size, and what came of each.

A fork of a process that has imported everything costs milliseconds where a new interpreter costs seconds, and can be
killed at any moment like any other process.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GIB", "Ended", "call", "kill_alone", "kill_group", "preload", "run", "run_on_a_full_disk", "start", "wait"]

GIB = 2**30
BUG = re.compile(r"Traceback \(most recent call last\)|this is a bug|Fatal Python error")
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""Control characters, which a terminal would obey."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status; negative the signal that ended it; None where it was killed for the time that it took.
        stderr: What it printed there, at most 100 kB.
        seconds: How long it ran.
    """

    status: int | None
    stderr: str
    seconds: float

    @property
    def verdict(self) -> str:
        """``read``, ``refused`` (status 2, in lines of its own), ``failed`` by name, or ``fault``."""
        if BUG.search(self.stderr) or RAW.search(self.stderr):
            return "fault"
        if self.status in (0, 3):
            return "read"
        told = any(line.startswith("error: ") for line in self.stderr.splitlines())
        return {2: "refused", 1: "failed"}.get(self.status or 0, "fault") if told else "fault"

    @property
    def problem(self) -> str:
        """What is wrong with a fault, in a line."""
        if self.status is None:
            return f"did not end within {self.seconds:.0f} s"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        lines = [line for line in self.stderr.splitlines() if line.strip()] or ["no message"]
        if "Traceback" in self.stderr:
            return next(
                (line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Warning)\b", line)), lines[-1]
            )
        return f"status {self.status}: {lines[-1]!r}"


def preload() -> None:
    """Import what commands need, on one thread, so that forks of this process can run them."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import h5py  # noqa: F401
    import torch

    import neurozoo.cli.app
    import neurozoo.data.importers.run_importer
    import neurozoo.training.train  # noqa: F401
    from neurozoo.registry.registry import default_registry

    torch.set_num_threads(1)
    _ = default_registry().plugins


def start(
    work: Callable[[], int],
    log: Path,
    *,
    memory: int = 6 * GIB,
    file_size: int | None = None,
    stdout: str = os.devnull,
) -> int:
    """Fork a child that does some work with its output in ``log``; returns its process id, also its group's.

    Args:
        work: What it does; returns the exit status.
        log: Where its standard error goes, a file or a pipe.
        memory: How much more address space it may take, in bytes.
        file_size: What a file may hold, in bytes, before writing fails as on a full disk.
        stdout: Where its standard output goes.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        faulthandler.disable()
        os.setsid()
        nothing, said = os.open(os.devnull, os.O_RDONLY), os.open(stdout, os.O_WRONLY)
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for source, target in ((nothing, 0), (said, 1), (errors, 2)):
            os.dup2(source, target)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
        status = work()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def call(arguments: Sequence[str], folder: Path | None = None) -> Callable[[], int]:
    """A command line of neurozoo as work for :func:`start`, in a folder."""

    def work() -> int:
        from neurozoo.cli import main

        if folder is not None:
            os.chdir(folder)
        return main(list(arguments))

    return work


def run(work: Callable[[], int], log: Path, *, seconds: float = 30.0, **limits: Any) -> Ended:
    """Do some work in a child and wait for it; its whole process group is gone afterwards.

    Args:
        work: As for :func:`start`, like ``limits``.
        log: A file for what it prints as errors.
        seconds: How long it may take.
    """
    begun = time.monotonic()
    child = start(work, log, **limits)
    status = wait(child, seconds)
    kill_group(child)
    took = time.monotonic() - begun
    with log.open("rb") as file:
        return Ended(status, file.read(100_000).decode("utf-8", "replace"), took)


def run_on_a_full_disk(work: Callable[[], int], pipe: Path, file_size: int, *, seconds: float) -> Ended:
    """The same where no file may grow beyond a size; its errors go through a pipe, which has no such limit."""
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 2**20)
        begun = time.monotonic()
        child = start(work, pipe, file_size=file_size)
        status = wait(child, seconds)
        kill_group(child)
        took = time.monotonic() - begun
        text = b""
        while piece := os.read(reader, 2**16):
            text += piece
        return Ended(status, text.decode("utf-8", "replace"), took)
    finally:
        os.close(reader)
        pipe.unlink()


def wait(child: int, seconds: float) -> int | None:
    """The exit status of a child (negative: the signal), or None where it did not end in time and was killed."""
    end, pause = time.monotonic() + seconds, 0.001
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            kill_group(child)
            os.waitpid(child, 0)
            return None
        time.sleep(pause)
        pause = min(0.05, pause * 1.5)


def members(child: int) -> list[int]:
    """The living processes of a child's group."""
    living = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            if int(group) == child and state not in "ZX":
                living.append(int(path.parent.name))
    return living


def kill_alone(child: int, seconds: float) -> bool:
    """Kill -9 a child, and not what it started; whether all that it started is gone after some seconds."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    end = time.monotonic() + seconds
    while orphans := [pid for pid in members(child) if pid != child]:
        if time.monotonic() > end:
            kill_group(child)
            return not orphans
        time.sleep(0.05)
    return True


def kill_group(child: int) -> None:
    """Kill -9 a child's process group: itself if it runs, and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
