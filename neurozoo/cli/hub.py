"""``push`` and ``pull``: trained models to the Hugging Face hub, and from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.common import Json, answer
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.files.text import read_text
from neurozoo.reporting.tables import columns

__all__ = ["pull", "push"]


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder, or a packed one.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="The model on the hub; made if missing.")],
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option("--notes", metavar="FILE", help="Markdown of your own for the model card.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="A new model is for you alone.")] = False,
    json: Json = False,
) -> None:
    """Publish a run on the Hugging Face hub; it is packed first.

    Log in once with `hf auth login`, or set HF_TOKEN. HF_ENDPOINT names another hub.
    """
    from neurozoo.hub.publishing import push as push_model

    text = "" if notes is None else read_text(notes)
    made = push_model(run, repository, licence=licence, notes=text, private=private)
    lines = [SYNTHETIC_NOTICE] if made.synthetic else []
    lines += [columns([[name, f"{size:,} bytes"] for name, size in made.files.items()])]
    lines += [f"pushed: {made.url}", f"this version: {made.address}"]
    answer(json, made, "\n".join(lines))


def pull(
    address: Annotated[str, typer.Argument(metavar="USER/NAME[@REVISION]", help="A model on the hub.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The new folder; by default packed/NAME.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy a model of the Hugging Face hub into a folder, after comparing it with its hashes.

    Other commands take a model of the hub as hf://USER/NAME[@REVISION], and keep it in the cache.
    """
    from neurozoo.hub.publishing import pull as pull_model

    made = pull_model(address, out)
    document = {"address": str(made.address), "commit": made.commit, "folder": made.folder}
    answer(json, document, f"pulled: {made.folder}, commit {made.commit}")
