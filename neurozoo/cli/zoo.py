"""``zoo``: packed models as a gallery."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import Json, answer, check_writable, write
from neurozoo.errors import UserError

__all__ = ["app"]

app = typer.Typer(help="Show packed models: those that come with neurozoo, or others.", rich_markup_mode=None)


@app.callback()
def _zoo() -> None:
    """Keep ``page`` a subcommand: typer runs the only command of an app without its name."""


@app.command("page")
def page(
    out: Annotated[Path, typer.Argument(metavar="FILE.md", help="The page; its pictures go into the folder FILE/.")],
    packed: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PACKED]...",
            help="Packed models; by default those that come with neurozoo.",
            autocompletion=completion.models,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a gallery of packed models: what each is and does, with a picture."""
    from neurozoo.hub.zoo_page import zoo_page
    from neurozoo.runs.shipped_models import shipped_model, shipped_models

    check_writable(out)
    if out.suffix != ".md":
        raise UserError(f"{out}: the page is Markdown, and its pictures go into a folder of its name; give FILE.md")
    names = packed or [Path(name) for name in shipped_models()]
    folders = [each if each.exists() else shipped_model(str(each)) or each for each in names]
    command = shlex.join(["neurozoo", "zoo", "page", out.as_posix(), *(each.as_posix() for each in packed or ())])
    made = zoo_page(folders, out, command)
    pictures = out.with_suffix("")
    for name, svg in made.pictures.items():
        write(pictures / name, svg)
    write(out, made.text)
    files = [out, *(pictures / name for name in made.pictures)]
    answer(json, {"page": out, "files": files, "models": len(folders)}, f"written: {out}, {len(folders)} models")
