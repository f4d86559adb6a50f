"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["TRAINED", "Backend", "Json", "Overrides"]

TRAINED = "A run folder, a packed one, or a model of `neurozoo list zoo`."
"""What every command on a trained model takes."""

Backend = Annotated[
    str | None, typer.Option("--backend", metavar="NAME", help="Another backend; `neurozoo list backends` has them.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Replace values of the recipe, such as training.epochs=3."),
]
