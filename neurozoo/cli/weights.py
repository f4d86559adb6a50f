"""``weights``: weights that the authors of published models trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.common import Json, Overrides, answer
from neurozoo.core.earlier_names import current_name
from neurozoo.reporting.tables import columns

__all__ = ["app"]

app = typer.Typer(help="Read weights that the authors of published models trained.", rich_markup_mode=None)


@app.callback()
def _weights() -> None:
    """Read weights that the authors of published models trained."""


@app.command("import")
def import_(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A published size; `neurozoo list sizes` has them.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth, .pt, .pth.tar or safetensors file.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The new folder; by default packed/MODEL.")
    ] = None,
    outputs: Annotated[
        str | None,
        typer.Option("--outputs", metavar="K|NAME,...", help="Number or names of the outputs; by default the size's."),
    ] = None,
    corrected: Annotated[
        bool, typer.Option("--corrected", help="Into the corrected form; by default into the published one.")
    ] = False,
    sound: Annotated[bool, typer.Option("--sound", hidden=True)] = False,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Where the weights are in the file.")] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a packed model of the authors' weights, which every backend runs. Nothing in their file is run.

    Prefixes of wrapped models (DataParallel) are taken off. What is not loaded is named.
    """
    from neurozoo.hub.import_weights import import_weights

    if sound:
        current_name("option", "--sound")  # notes it
    named: int | list[str] | None = None
    if outputs is not None:
        named = int(outputs) if outputs.isdecimal() else outputs.split(",")
    made = import_weights(
        model, file, out, overrides, outputs=named, key=key,
        form="corrected" if corrected or sound else "published", licence=licence,
    )  # fmt: skip
    lines = [f"{made.file} (sha256 {made.sha256[:12]}): {len(made.taken)} tensors, the {made.form} form"]
    if made.left:
        lines += ["not loaded", columns([[name, why] for name, why in made.left.items()], "  ")]
    answer(json, made, "\n".join([*lines, f"packed: {made.folder}"]))
