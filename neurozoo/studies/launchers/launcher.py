"""Where the commands of a study run, with options that are checked before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neurozoo.errors import UnknownNameError, UserError, install_extra, suggestion
from neurozoo.studies.launchers.jobs import Jobs
from neurozoo.studies.launchers.local import LocalJobs
from neurozoo.studies.launchers.options import DaskOptions, LocalOptions, Options, SlurmOptions

__all__ = ["LAUNCHERS", "QUEUED", "RETRIES", "Launcher"]

RETRIES = 2
"""How often a job that died is started again, unless the caller says otherwise."""

QUEUED = 256
"""The largest number of jobs that are queued on a cluster at a time, unless the caller says otherwise."""

LAUNCHERS: Mapping[str, type[Options]] = {"local": LocalOptions, "slurm": SlurmOptions, "dask": DaskOptions}
"""Options of each launcher by its name."""

_NEEDS = {"slurm": ("submitit", "slurm"), "dask": ("distributed", "dask")}
"""Module that a launcher needs, and the extra that installs it."""


class Launcher:
    """Where the commands of a study run.

    Args:
        name: ``local``, ``slurm`` (by submitit) or ``dask``.
        options: Of the launcher, see :mod:`neurozoo.studies.launchers.options`.
        retries: How often a job that died is continued from its checkpoint.

    Raises:
        UserError: The name or an option is unknown or has a wrong value, or the launcher cannot be used here.

    Example:
        >>> launcher = Launcher("slurm", {"partition": "gpu", "time": "2:00:00", "gpus": 1})
        >>> neurozoo.train_seeds("smile_mosei_corrected", seeds=5, launcher=launcher)
    """

    def __init__(self, name: str = "local", options: Mapping[str, Any] | None = None, retries: int = RETRIES) -> None:
        if name not in LAUNCHERS:
            raise UnknownNameError("launcher", name, LAUNCHERS)
        if retries < 0:
            raise UserError(f"asked for {retries} retries; give 0 or more")
        self.name, self.retries = name, retries
        try:
            self.options = LAUNCHERS[name](**(options or {}))
        except ValidationError as error:
            problems = "; ".join(_problem(name, each) for each in error.errors()[:5])
            raise UserError(f"launcher {name}: {problems}") from error
        if name in _NEEDS:
            module, extra = _NEEDS[name]
            if find_spec(module) is None:
                raise UserError(f"launcher {name}: needs {module}, which is not installed; `{install_extra(extra)}`")
        self.options.check()

    @classmethod
    def of(cls, launcher: str | Launcher) -> Launcher:
        """Return a launcher, or the one of that name without options."""
        return launcher if isinstance(launcher, Launcher) else cls(launcher)

    @property
    def is_local(self) -> bool:
        """Whether the commands are child processes of this one."""
        return self.name == "local"

    def at_a_time(self, jobs: int | None, of: int, here: int = 1) -> int:
        """Return how many of several jobs to start at a time: ``jobs``, by default ``here`` locally, else all."""
        return max(1, min(jobs or (here if self.is_local else QUEUED), of))

    def open(self, at_a_time: int, folder: Path) -> Jobs:
        """Return the context that runs commands.

        Args:
            at_a_time: The largest number of commands that run or are queued at the same time.
            folder: The study's folder, which every machine sees under this name.

        Raises:
            UserError: The cluster does not answer.
        """
        if isinstance(self.options, SlurmOptions):
            from neurozoo.studies.launchers.slurm import SlurmJobs

            return SlurmJobs(at_a_time, self.retries, folder, self.options)
        if isinstance(self.options, DaskOptions):
            from neurozoo.studies.launchers.dask import DaskJobs

            return DaskJobs(at_a_time, self.retries, folder, self.options)
        return LocalJobs(at_a_time, self.retries)


def _problem(name: str, error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    known = list(LAUNCHERS[name].model_fields)
    if error["type"] == "extra_forbidden":
        there = f"there are: {', '.join(known)}{suggestion(where, known)}" if known else "it has none"
        return f"no option is called {where!r}; {there}"
    return f"{where}={error['input']!r}: {error['msg'].removeprefix('Value error, ')}"
