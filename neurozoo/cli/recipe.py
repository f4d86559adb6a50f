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
from neurozoo.files.text import printable

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
    """Copy a recipe for a store of yours: its data, inputs, roles, task and outputs are the store's.

    Augmentations, ablations and a search that do not fit the store are left out, and named with the reason.
    """
    from neurozoo.training.own_recipe import recipe_for_store

    check_writable(file)
    if os.path.lexists(file):
        raise UserError(f"{file} is there already; give the name of a new file")
    made = recipe_for_store(name, data)
    left_out = [f"{what}: {why}" for what, why in made.left_out.items()]
    command = shlex.join(["neurozoo", "train", str(file)])
    head = [command, "", f"A copy of {name} for the data in {data}, by neurozoo recipe copy."]
    if left_out:
        head += ["Left out, as it does not fit the data:", *(f"- {each}" for each in left_out)]
    write(file, "".join(f"# {printable(line)}".rstrip() + "\n" for line in head) + f"\n{made.text}")
    lines = [made.text, *(f"left out: {each}" for each in left_out), f"written: {file}", f"next: {command}"]
    answer(json, {"recipe": file, "next": command, "left_out": made.left_out}, "\n".join(lines))
