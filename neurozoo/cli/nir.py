"""``nir``: models as graphs that other simulators and chips read."""

from __future__ import annotations

import typer

from neurozoo.cli.nir_export import export

__all__ = ["app"]

app = typer.Typer(help="Exchange models with other simulators and chips by NIR.", rich_markup_mode=None)
app.command("export")(export)


@app.callback()
def _nir() -> None:
    """Exchange models with other simulators and chips by NIR."""
