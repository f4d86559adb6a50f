"""The one interface of all launchers: run independent commands, wait for each, stop those that are not wanted."""

from __future__ import annotations

import signal
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Self, TypeVar

from neurozoo.errors import NeurozooError, NeurozooWarning, UserError

__all__ = ["KEPT", "WORKER", "Ended", "JobDied", "Jobs"]

T = TypeVar("T")

WORKER = (
    "import runpy, sys; from neurozoo.runs.parent import end_with_parent; end_with_parent(int(sys.argv.pop(1))); "
    "runpy.run_module('neurozoo.cli', run_name='__main__', alter_sys=True)"
)
"""``neurozoo ARGUMENTS`` in a process that ends with the one whose id it gets."""

_OUTSIDE = frozenset({129, 130, 137, 143})
"""Exit statuses of a process that SIGHUP, SIGINT, SIGKILL or SIGTERM ended, as shells count them."""

_PAUSE = 1.0
"""Seconds before a job that died starts again; Ctrl-C reaches the jobs of a terminal before their parent stops them."""

KEPT = 400
"""Number of lines of output that are kept for messages."""

_LONGEST = 300
"""Largest number of characters of a line of a log in a message."""


class JobDied(NeurozooError):
    """A job was ended from outside: killed, pre-empted, out of time, or its machine was lost."""


@dataclass(frozen=True)
class Ended:
    """The end of a job.

    Attributes:
        status: The exit status, negative for a signal; None if the job ended without one.
        lines: The last lines of its standard error output.
        reason: Why there is no exit status.
        log: The file with the whole output, if there is one.
    """

    status: int | None
    lines: Sequence[str]
    reason: str = ""
    log: str = ""


class Jobs(ABC):
    """Runs commands, some at a time; leaving the context stops those that run and drops those that wait.

    Args:
        at_a_time: The largest number of commands that run or are queued at the same time.
        retries: How often a job that died is started again.

    Attributes:
        left: Set when the context is left, for threads that wait.
    """

    def __init__(self, at_a_time: int, retries: int = 0) -> None:
        self.left, self.at_a_time, self.retries = Event(), at_a_time, retries
        self._threads = ThreadPoolExecutor(at_a_time)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.left.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._stop()
        self._threads.shutdown()

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Do some work, such as :meth:`run`, in one of the threads, as soon as one is free."""
        return self._threads.submit(work, *arguments)

    def run(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        """Run ``neurozoo ARGUMENTS`` to its end; ``on_line`` gets each line of its standard error output.

        Raises:
            UserError: Its input cannot be used.
            JobDied: It was ended from outside, and can be started again.
            NeurozooError: It failed.
        """
        ended = self._execute(name, arguments, on_line or (lambda line: None))
        if ended.status == 0:
            return
        errors = [line for line in ended.lines if line.startswith("error:")]
        words = [line for line in ended.lines if not line.startswith('{"event"')]  # without the progress
        end = "; ".join(line[:_LONGEST] for line in errors or words[-3:])
        where = f"; its log: {ended.log}" if ended.log else ""
        if ended.status is None or ended.status < 0 or ended.status in _OUTSIDE:
            cause = ended.reason or _signal(ended.status)
            raise JobDied(f"{name}: {cause}{f'; the end of its log: {end}' if end else ''}{where}")
        kind = UserError if ended.status == UserError.exit_status else NeurozooError
        raise kind(f"{name}: {end or f'it ended with status {ended.status}'}{where}")

    def run_again(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None] | None = None) -> None:
        """As :meth:`run`; if the job dies, the same command runs again, ``retries`` times.

        Raises:
            NeurozooError: As :meth:`run`.
        """
        for deaths in range(1, self.retries + 2):
            try:
                return self.run(name, arguments, on_line)
            except JobDied as died:
                self.check_retry(died, deaths)
        raise AssertionError

    def check_retry(self, died: JobDied, deaths: int) -> None:
        """Return if a job that died may start again, after a pause; say so in a warning.

        Raises:
            JobDied: It may not: it died too often, or the context was left.
        """
        if self.left.wait(_PAUSE):
            raise died
        if deaths > self.retries:
            times = f"died {deaths} times, the last time: " if deaths > 1 else "died: "
            name, _, cause = str(died).partition(": ")
            raise JobDied(f"{name}: {times}{cause}; the same command continues it") from died
        warnings.warn(f"{died}; it continues, retry {deaths} of {self.retries}", NeurozooWarning, stacklevel=3)

    @abstractmethod
    def _execute(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        """Run a command and wait for its end; end it early once ``left`` is set. Called in several threads."""

    @abstractmethod
    def _stop(self) -> None:
        """Stop every command; ``left`` is set."""


def _signal(status: int | None) -> str:
    if status is None:
        return "it ended without an exit status"
    number = -status if status < 0 else status - 128
    try:
        return f"it was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"it was ended by signal {number}"
