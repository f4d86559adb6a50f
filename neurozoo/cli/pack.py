"""``pack``: a finished run as a folder for a model hub."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.reporting.tables import columns

__all__ = ["pack"]


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The new folder; by default packed/ and the run's name.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option("--notes", metavar="FILE", help="Markdown of your own for the model card.")
    ] = None,
    json: Json = False,
) -> None:
    """Pack a run for a model hub: weights, recipe, model card, and a manifest with the hash of each.

    The packed folder loads as a run does, on any backend, and is refused where a file of it changed.
    """
    from neurozoo.hub.packing import pack as pack_run
    from neurozoo.runs.packed import MANIFEST, read_packed

    folder = pack_run(run, out, licence=licence, notes="" if notes is None else _text(notes))
    packed = read_packed(folder)
    hashes = {**packed.files, MANIFEST: hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}
    sizes = {name: (folder / name).stat().st_size for name in hashes}
    if json:
        files = {name: {"sha256": hashes[name], "bytes": sizes[name]} for name in hashes}
        emit({"folder": folder, "name": packed.name, "synthetic": packed.synthetic, "files": files})
        return
    if packed.synthetic:
        print(SYNTHETIC_NOTICE)
    print(columns([[name, f"{sizes[name]:,} bytes", hashes[name]] for name in hashes]))
    print(f"packed: {folder}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give a Markdown file") from error
