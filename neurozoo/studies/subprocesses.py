"""neurozoo's own commands, each in a process of its own and a few at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from neurozoo.errors import NeurozooError, UserError

__all__ = ["Commands"]

T = TypeVar("T")


class Commands:
    """Runs commands from a few threads; leaving the context stops those still running.

    Args:
        jobs: How many at a time.

    Attributes:
        left: Set when the context is left, for who waits in a thread.
    """

    def __init__(self, jobs: int) -> None:
        self.left = Event()
        self._threads = ThreadPoolExecutor(jobs)
        self._running: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *exception: object) -> None:
        self.left.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.terminate()
        self._threads.shutdown()

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Do some work in one of the threads, as soon as one is free."""
        return self._threads.submit(work, *arguments)

    def run(self, name: str, arguments: Sequence[str], heard: Callable[[str], None] | None = None) -> None:
        """Run ``neurozoo ARGUMENTS`` to its end.

        Args:
            name: What errors call it.
            arguments: With ``--json`` among them, so that it tells of its progress: where this process is killed, the
                other one ends by itself when it next does.
            heard: Called with each line of its standard error output.

        Raises:
            UserError: What it was given cannot be used.
            NeurozooError: It failed.
        """
        told: list[str] = []
        with subprocess.Popen(
            [sys.executable, "-m", "neurozoo.cli", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._running.add(process)
            if self.left.is_set():
                process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                told.append(line.rstrip("\n"))
                if heard is not None:
                    heard(told[-1])
        self._running.discard(process)
        if process.returncode:
            errors = [line for line in told if line.startswith("error:")] or told[-3:]
            kind = UserError if process.returncode == UserError.exit_status else NeurozooError
            raise kind(f"{name}: {'; '.join(errors) or f'it ended with status {process.returncode}'}")
