"""Commands as child processes of this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence

from neurozoo.studies.launchers.jobs import KEPT, WORKER, Ended, Jobs

__all__ = ["LocalJobs", "cores"]


class LocalJobs(Jobs):
    """Runs commands in child processes, which end when this process does, however it ends."""

    def __init__(self, at_a_time: int, retries: int = 0) -> None:
        super().__init__(at_a_time, retries)
        self._running: set[subprocess.Popen[str]] = set()

    def _execute(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        lines: deque[str] = deque(maxlen=KEPT)
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(os.getpid()), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._running.add(process)
            if self.left.is_set():
                process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line.rstrip("\n"))
                on_line(lines[-1])
        self._running.discard(process)
        return Ended(process.returncode, list(lines))

    def _stop(self) -> None:
        for process in list(self._running):
            process.terminate()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
