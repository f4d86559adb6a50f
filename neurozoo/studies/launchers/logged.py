"""Commands that run on other machines: input, log and exit status are files in a folder that all machines share."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from neurozoo.studies.launchers.jobs import KEPT, Ended, Jobs

__all__ = ["HOME", "LoggedJobs", "Place"]

HOME = ".jobs"
"""Name of the folder in a study's folder that holds a folder for each call; its name is no variant's or seed's."""


@dataclass
class Place:
    """A job's name and files, and what was read of its log."""

    name: str
    log: Path
    status: Path
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    _read: int = 0
    _rest: bytes = b""

    def exit_status(self) -> int | None:
        """Return the exit status; None if the command has not ended."""
        with suppress(OSError, ValueError):
            return int(self.status.read_bytes()[:20])
        return None

    def follow(self, on_line: Callable[[str], None], *, end: bool = False) -> None:
        """Read on in the log; ``on_line`` gets each whole line, and at the end what is left."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
            self._read += len(new)
            *whole, self._rest = (self._rest + new).split(b"\n")
            for line in [*whole, *([self._rest] if end and self._rest else [])]:
                self.lines.append(line.decode(errors="replace"))
                on_line(self.lines[-1])


class LoggedJobs(Jobs):
    """Runs commands by :func:`neurozoo.studies.launchers.worker.run_command`, somewhere.

    Args:
        at_a_time: The largest number of commands that run or are queued at the same time.
        retries: How often a job that died is started again.
        folder: The study's folder, which every machine sees under this name.

    Attributes:
        folder: A new folder for the jobs of this call. It is removed if every job ended well, else it keeps the logs.
    """

    interval = 1.0
    """Seconds between two looks at a job."""

    def __init__(self, at_a_time: int, retries: int, folder: Path) -> None:
        super().__init__(at_a_time, retries)
        home = folder.absolute() / HOME
        self._is_new = not folder.exists()
        home.mkdir(parents=True, exist_ok=True)
        # New and of this user alone: nobody else's file is in it.
        self.folder = Path(tempfile.mkdtemp(dir=home))
        self._stop_file = self.folder / "stop"
        self._numbers, self._numbers_lock, self._failed = count(1), Lock(), False

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        if not self._failed:
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):  # it holds logs of other calls
                self.folder.parent.rmdir()
                if self._is_new:  # removed only if nothing was trained
                    self.folder.parents[1].rmdir()

    def _execute(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None]) -> Ended:
        with self._numbers_lock:
            number = next(self._numbers)
        place = Place(name, self.folder / f"{number}.log", self.folder / f"{number}.status")
        text = json.dumps(
            {
                "arguments": list(arguments),
                "folder": os.getcwd(),
                "environment": {key: value for key, value in os.environ.items() if key.startswith("NEUROZOO_")},
                "log": str(place.log),
                "status": str(place.status),
                "stop": str(self._stop_file),
            }
        )
        ended = Ended(None, (), "it was cancelled")
        try:
            if not self.left.is_set():
                ended = self._wait(self._begin(name, text), place, on_line)
        finally:
            self._failed = self._failed or ended.status != 0
        return ended

    def _wait(self, job: Any, place: Place, on_line: Callable[[str], None]) -> Ended:
        ended: int | str | None = "it was cancelled"
        try:
            while (ended := self._ended(job, place)) is None and not self.left.wait(self.interval):
                place.follow(on_line)
        finally:
            if not isinstance(ended, int):
                self._cancel(job)
        place.follow(on_line, end=True)
        status, reason = (ended, "") if isinstance(ended, int) else (None, ended or "it was cancelled")
        return Ended(status, list(place.lines), reason, str(place.log))

    def _stop(self) -> None:
        self._stop_file.touch()

    @abstractmethod
    def _begin(self, name: str, text: str) -> Any:
        """Queue ``run_command(text)``; return the job."""

    @abstractmethod
    def _ended(self, job: Any, place: Place) -> int | str | None:
        """Return a job's exit status, why it has none, or None if it is queued or runs."""

    @abstractmethod
    def _cancel(self, job: Any) -> None:
        """Take a job out of the queue, or stop it."""
