"""The application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from neurozoo.cli import (
    bench,
    browse,
    compare,
    data,
    doctor,
    nir,
    plugins,
    run,
    studies,
    trained,
)

__all__ = ["app"]

app = typer.Typer(
    name="neurozoo",
    help="A zoo of spiking models: one recipe, any spiking library.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train")(run.train)
app.command("evaluate")(run.evaluate)
app.command("verify")(run.verify)
app.command("predict")(trained.predict)
app.command("profile")(trained.profile)
app.command("report")(trained.report)
app.command("pack")(trained.pack)
app.command("list")(browse.list_)
app.command("show")(browse.show)
app.command("compare")(compare.compare)
app.command("ablate")(studies.ablate)
app.command("tune")(studies.tune)
app.command("results")(studies.results)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.add_typer(nir.app, name="nir")
app.add_typer(plugins.app, name="plugins")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"neurozoo {version('neurozoo')}")
        raise typer.Exit


@app.callback()
def _neurozoo(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A zoo of spiking models: one recipe, any spiking library."""
