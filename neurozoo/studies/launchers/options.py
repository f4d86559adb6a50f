"""Options of the launchers: what there is, and reading them from a command line or a file."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from neurozoo.errors import UserError
from neurozoo.files.text import read_text
from neurozoo.recipe.yaml_text import Reader, compose

__all__ = ["DaskOptions", "LocalOptions", "Options", "SlurmOptions", "read_options"]


def _minutes(value: object) -> object:
    """Convert ``MINUTES``, ``H:MM:SS`` or ``D-HH:MM:SS`` to whole minutes, rounded up."""
    found = re.fullmatch(r"(?:(\d{1,3})-)?(\d{1,4}):(\d\d):(\d\d)", str(value))
    if found is None:
        if not re.fullmatch(r"\d{1,7}", str(value)):
            raise ValueError("give minutes, H:MM:SS or D-HH:MM:SS")
        return int(str(value))
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes + math.ceil(seconds / 60)


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


# They become lines of a shell script's head, so each is one line.
_Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f]+$", max_length=1000)]
_Lines = Annotated[tuple[_Line, ...], BeforeValidator(_several)]


class Options(BaseModel):
    """Base class of a launcher's options."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    def check(self) -> None:
        """Check that the launcher can be used here with these options.

        Raises:
            UserError: It cannot.
        """


class LocalOptions(Options):
    """The local launcher has none; ``--jobs`` is how many trainings run at a time."""


class SlurmOptions(Options):
    """Options of a job of Slurm.

    Attributes:
        cluster: ``slurm``, or ``local`` for submitit's own processes on this machine.
        time: Limit in minutes; needed on Slurm.
        partition: Name of the partition.
        account: Who is billed.
        qos: Quality of service.
        constraint: Features that a node must have.
        memory: For the job, such as ``16G``.
        cpus: Cores.
        gpus: Accelerators.
        setup: Shell commands that run before the job, such as ``module load cuda``.
        extra: Further options of ``sbatch`` by name.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    time: Annotated[int, BeforeValidator(_minutes), Field(ge=1)] | None = None
    partition: _Line | None = None
    account: _Line | None = None
    qos: _Line | None = None
    constraint: _Line | None = None
    memory: Annotated[str, Field(pattern=r"^[1-9]\d*[KMGT]B?$")] | None = None
    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    setup: _Lines = ()
    extra: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")], _Line] = Field(default_factory=dict)

    def check(self) -> None:
        if self.cluster == "local":
            return
        missing = [program for program in ("sbatch", "srun", "sacct", "scancel") if shutil.which(program) is None]
        if missing:
            raise UserError(
                f"launcher slurm: {', '.join(missing)}: not found; call it where jobs of Slurm are submitted, or try "
                "it here with the option cluster=local"
            )
        if self.time is None:
            raise UserError(
                "launcher slurm: give the option time=H:MM:SS, the limit of a job; one that reaches it is continued"
            )


class DaskOptions(Options):
    """Options of a dask cluster.

    Attributes:
        address: Of a scheduler that runs, such as ``tcp://HOST:8786``.
        scheduler_file: File with its address, as ``dask scheduler --scheduler-file`` writes it.
        workers: Processes of a cluster on this machine, if no scheduler is given; by default one a core.
        resources: What a training occupies of a worker's resources, by name, such as ``GPU: 1``.
    """

    address: Annotated[str, Field(pattern=r"^(tcp|tls|ucx|wss?)://[^\s/]+:\d{1,5}$")] | None = None
    scheduler_file: Path | None = None
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    resources: Mapping[_Line, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)

    def check(self) -> None:
        given = [name for name in ("address", "scheduler_file", "workers") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(
                f"launcher dask: {' and '.join(given)} exclude each other; name a scheduler, or workers to start"
            )
        if self.scheduler_file is not None and not self.scheduler_file.is_file():
            raise UserError(f"launcher dask: scheduler_file={self.scheduler_file}: there is no such file")
        if self.resources and self.address is None and self.scheduler_file is None:
            raise UserError("launcher dask: resources belong to a scheduler's workers; give address or scheduler_file")


def read_options(given: Iterable[str]) -> dict[str, Any]:
    """Read launcher options: ``KEY=VALUE``, ``KEY.SUB=VALUE``, or a YAML file with any number; the last one counts.

    Raises:
        UserError: A text is neither, or a file cannot be read.
    """
    options: dict[str, Any] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals:
            options |= _file(Path(each))
            continue
        section, *below = key.split(".", 1)
        if below:
            inner = options.get(section)
            options[section] = {**(inner if isinstance(inner, Mapping) else {}), below[0]: value}
        else:
            options[section] = value
    return options


def _file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"launcher options: {str(path)!r} is neither KEY=VALUE nor a file of them in YAML")
    node, reader = compose(read_text(path), f"{path}:"), Reader()
    content = {} if node is None else reader.value(node, ())
    if reader.problems:
        (line, column), problem = min(reader.problems)
        raise UserError(f"{path}:{line}:{column}: {problem}")
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds no section of keys; write one `key: value` a line")
    return content
