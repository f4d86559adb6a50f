"""The application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from neurozoo.cli import (
    arena,
    bench,
    browse,
    compare,
    data,
    export,
    hub,
    nir,
    plugins,
    recipe,
    run,
    runs,
    stream,
    studies,
    trained,
    weights,
    zoo,
)

__all__ = ["app"]

app = typer.Typer(
    name="neurozoo",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},  # subcommands inherit it
)
for _command in (
    run.train, run.evaluate, run.verify, trained.predict, stream.stream, trained.profile, trained.report, trained.pack,
    hub.push, hub.pull, export.export,
    browse.list_, browse.show, compare.compare, studies.ablate, studies.tune, arena.arena, studies.collect,
    studies.results, studies.reproduce, plugins.doctor,
):  # fmt: skip
    app.command(_command.__name__.rstrip("_"))(_command)
for _group in (runs, data, recipe, bench, nir, weights, zoo, plugins):
    app.add_typer(_group.app, name=_group.__name__.rpartition(".")[2])


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from neurozoo.errors import DISTRIBUTION

        print(f"neurozoo {version(DISTRIBUTION)}")
        raise typer.Exit


@app.callback()
def _neurozoo(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A zoo of spiking models: one recipe, any spiking library."""
