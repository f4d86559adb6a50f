"""Arguments and options that several commands have."""

from __future__ import annotations

import json
import typing
from typing import Annotated, Any

import typer

__all__ = ["TRAINED", "Backend", "Json", "Overrides", "parsed"]

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


def parsed(text: str, annotation: Any) -> Any:
    """A value written as text: a list is parted at commas, a text stays one, all else is read as JSON."""
    if annotation is str:
        return text
    if typing.get_origin(annotation) is not None and str in typing.get_args(annotation):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text
