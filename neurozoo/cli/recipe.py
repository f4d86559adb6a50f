"""``recipe``: make a recipe of one's own."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import Json, answer, check_writable, write
from neurozoo.errors import UserError

__all__ = ["app"]

app = typer.Typer(help="Make a recipe of your own.", rich_markup_mode=None)


@app.callback()
def _recipe() -> None:
    """Make a recipe of your own."""


@app.command("copy")
def copy(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|RECIPE|MODEL", help="A recipe's name or file, or a model.", autocompletion=completion.names
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new recipe, such as mine.yaml.")],
    data: Annotated[str, typer.Option("--data", metavar="STORE", help="The store that it trains on.")],
    json: Json = False,
) -> None:
    """Copy a recipe for a store of yours: its data, inputs, roles, task and outputs are the store's."""
    from neurozoo.models.own_recipe import recipe_for_store

    check_writable(file)
    if os.path.lexists(file):
        raise UserError(f"{file} is there already; give the name of a new file")
    text = recipe_for_store(name, data)
    command = shlex.join(["neurozoo", "train", str(file)])
    write(file, f"# {command}\n#\n# A copy of {name} for the data in {data}, by neurozoo recipe copy.\n\n{text}")
    answer(json, {"recipe": file, "next": command}, f"{text}\nwritten: {file}\nnext: {command}")
