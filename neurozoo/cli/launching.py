"""The options of commands that start many trainings: how many at a time, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from neurozoo.studies.launchers import Launcher

__all__ = ["Jobs", "LauncherName", "LauncherOptions", "Retries", "launcher_of"]

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", min=1, max=1024, help="Trainings at a time, one thread each; by default one, on a cluster all."
    ),
]
LauncherName = Annotated[
    str | None,
    typer.Option(
        "--launcher", metavar="local|slurm|dask", help="Where trainings run: here (the default), on Slurm, or on dask."
    ),
]
LauncherOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--launcher-options",
        metavar="KEY=VALUE|FILE",
        help="Such as partition=gpu or time=2:00:00, or a YAML file of them; repeatable. docs/cluster.md has all.",
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        "--retries", min=0, max=100, help="How often a training that died continues from its checkpoint; 2 by default."
    ),
]


def launcher_of(name: str | None, options: list[str] | None, retries: int | None) -> Launcher:
    """Return the launcher of a command line, whose options are checked.

    Raises:
        UserError: One is wrong.
    """
    from neurozoo.studies.launchers import RETRIES, Launcher, read_options

    return Launcher(name or "local", read_options(options or ()), RETRIES if retries is None else retries)
