"""``nir``: models as graphs that other simulators and chips read."""

from __future__ import annotations

import typer

from neurozoo.cli.nir_export import export
from neurozoo.cli.nir_import import import_

__all__ = ["app"]

app = typer.Typer(help="Exchange models with other simulators and chips by NIR.", rich_markup_mode=None)
app.command("import")(import_)
app.command("export")(export)
