"""Commands as jobs of Slurm, which submitit submits and watches."""

from __future__ import annotations

import re
import time
from pathlib import Path
from threading import Lock
from typing import Any

import submitit

from neurozoo.errors import UserError
from neurozoo.studies.launchers.logged import LoggedJobs, Place
from neurozoo.studies.launchers.options import SlurmOptions
from neurozoo.studies.launchers.worker import run_command

__all__ = ["SlurmJobs"]

_YEAR = 365 * 24 * 60
"""Minutes; the limit of a job on submitit's local cluster if none is given."""

_INTERVAL = 5.0
"""Seconds between two looks at the files of a job, on a disk that many machines share."""

_GRACE = 5.0
"""Seconds in which the files of a job that has ended appear on this machine."""

_PATIENCE = 600.0
"""Seconds in which Slurm puts a pre-empted job back into the queue, if it is set up to do so."""


class SlurmJobs(LoggedJobs):
    """Submits each command as a job of its own, with the options of all.

    submitit hands the job's function over as a pickle in :attr:`folder`, which is new. Results come back as text.
    """

    def __init__(self, at_a_time: int, retries: int, folder: Path, options: SlurmOptions) -> None:
        super().__init__(at_a_time, retries, folder)
        self.interval = 0.2 if options.cluster == "local" else _INTERVAL
        self._is_here = options.cluster == "local"
        # One at a time: neither submissions nor the calls of sacct that all jobs share are made for threads.
        self._lock = Lock()
        self._executor = submitit.AutoExecutor(folder=self.folder / "submitit", cluster=options.cluster)
        self._executor.update_parameters(**_parameters(options))

    def _begin(self, name: str, text: str) -> Any:
        with self._lock:
            self._executor.update_parameters(name=re.sub(r"[^\w.-]+", "-", f"neurozoo-{name}")[:60])
            try:
                return _Submitted(self._executor.submit(run_command, text))
            except (OSError, RuntimeError) as error:
                raise UserError(f"{name}: the job was not submitted: {str(error).strip()}") from error

    def _ended(self, job: _Submitted, place: Place) -> int | str | None:
        status = place.exit_status()
        if status is not None and not self._is_here:
            return status
        with self._lock:
            done, state = job.job.done(), job.job.state.upper()
        if status is not None:
            return status if done else None
        now = time.monotonic()
        # For submitit a pre-empted job waits in the queue, but some clusters end it.
        patience = _GRACE if done else _PATIENCE if state.startswith("PREEMPTED") else None
        if patience is None:
            job.since = None
            return None
        job.since = job.since or now
        return f"the job {job.job.job_id} ended without a result ({state})" if now - job.since > patience else None

    def _cancel(self, job: _Submitted) -> None:
        with self._lock:
            job.job.cancel(check=False)
        ends = time.monotonic() + _GRACE
        while self._is_here and not job.job.done() and time.monotonic() < ends:
            time.sleep(self.interval)


class _Submitted:
    """A submitted job, and since when it seems to have ended."""

    def __init__(self, job: Any) -> None:
        self.job = job
        self.since: float | None = None


def _parameters(options: SlurmOptions) -> dict[str, Any]:
    """Return the options in submitit's names; None is not set."""
    local = options.cluster == "local"
    shared = {
        "timeout_min": options.time or _YEAR,
        "cpus_per_task": options.cpus,
        "gpus_per_node": options.gpus or None,
        f"{options.cluster}_setup": list(options.setup) or None,
    }
    if local:
        return shared
    return shared | {
        "slurm_partition": options.partition,
        "slurm_account": options.account,
        "slurm_qos": options.qos,
        "slurm_constraint": options.constraint,
        "slurm_mem": options.memory,
        "slurm_additional_parameters": dict(options.extra) or None,
    }
