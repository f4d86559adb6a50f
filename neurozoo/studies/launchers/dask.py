"""Commands as tasks of a dask cluster: that of a scheduler's address, or one of processes on this machine."""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from distributed import Client, KilledWorker, LocalCluster

from neurozoo.errors import NeurozooError, UserError
from neurozoo.studies.launchers.local import cores
from neurozoo.studies.launchers.logged import LoggedJobs, Place
from neurozoo.studies.launchers.options import DaskOptions
from neurozoo.studies.launchers.worker import run_command

__all__ = ["DaskJobs"]

_TIMEOUT = 20
"""Seconds in which a scheduler has to answer."""


class DaskJobs(LoggedJobs):
    """Submits each command as a task, a text in and an exit status out.

    If a worker dies, dask runs its task again on another one, as often as the scheduler's ``allowed-failures`` says.
    """

    interval = 0.2

    def __init__(self, at_a_time: int, retries: int, folder: Path, options: DaskOptions) -> None:
        super().__init__(at_a_time, retries, folder)
        self._options, self._opened, self._order = options, ExitStack(), count()

    def __enter__(self) -> DaskJobs:
        options = self._options
        place: dict[str, Any] = {"address": options.address}
        if options.scheduler_file is not None:
            place = {"scheduler_file": str(options.scheduler_file)}
        is_new = options.address is None and options.scheduler_file is None
        if is_new:
            place = {"address": self._opened.enter_context(_cluster(options.workers or min(self.at_a_time, cores())))}
        try:
            self._client = self._opened.enter_context(_client(**place))
        except (OSError, ValueError) as error:
            self._opened.close()
            super().__exit__()
            where = options.address or options.scheduler_file
            raise UserError(
                f"launcher dask: no scheduler answers at {where} ({error}); start one: dask scheduler"
            ) from error
        if is_new:  # Ctrl-C reaches the workers of this terminal too; this process ends them
            self._client.run(_ignore_interrupts)
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            super().__exit__(*exception)
        finally:
            self._opened.close()

    def _begin(self, name: str, text: str) -> Any:
        resources, order = dict(self._options.resources) or None, -next(self._order)
        return self._client.submit(run_command, text, pure=False, retries=0, resources=resources, priority=order)

    def _ended(self, job: Any, place: Place) -> int | str | None:
        if not job.done():
            return None
        if job.status == "finished":
            return int(job.result())
        if job.status != "error":
            return f"the task is {job.status}"
        error = job.exception()
        if isinstance(error, KilledWorker):
            return "its workers died"
        raise NeurozooError(
            f"{place.name}: a worker could not run it ({type(error).__name__}: {error}); it needs this neurozoo, and "
            f"the folder {self.folder} under this name"
        )

    def _cancel(self, job: Any) -> None:
        job.cancel()  # takes it out of the queue; a command that runs ends by the file `stop`


def _ignore_interrupts() -> None:
    # A handler and not SIG_IGN, which trainings would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)


def _client(**place: Any) -> Any:
    return Client(**place, timeout=_TIMEOUT, set_as_default=False)  # type: ignore[no-untyped-call]


def _cluster(workers: int) -> Any:
    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.ERROR
    )
