"""What several commands share: options, exit statuses, JSON documents, and the files that a command writes."""

from __future__ import annotations

import json
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.errors import UserError
from neurozoo.files.writing import write_whole

__all__ = [
    "DIFFERENT", "FAILED", "TRAINED", "Backend", "DataRoot", "Html", "Json", "Overrides", "Split",
    "answer", "emit", "key_values", "parsed", "plain", "write",
]  # fmt: skip

FAILED, DIFFERENT = 1, 3
"""Exit statuses: the work could not be done; something was compared and differs."""

TRAINED = "A run folder, a packed one, or a model of `neurozoo list zoo`."

Split = StrEnum("Split", ["test", "valid", "train"])
"""The splits that can be measured."""

Backend = Annotated[
    str | None, typer.Option("--backend", metavar="NAME", help="Another backend; `neurozoo list backends` has them.")
]
DataRoot = Annotated[
    str | None, typer.Option("--data-root", metavar="DIR", help="The data store, if it has moved since the training.")
]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also write a page with pictures.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Replace values of the recipe, such as training.epochs=3."),
]


def parsed(text: str, annotation: Any) -> Any:
    """Parse an option's text: a list is split at commas, a text stays as it is, anything else is read as JSON."""
    if annotation is str:
        return text
    if typing.get_origin(annotation) is not None and str in typing.get_args(annotation):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def key_values(given: Iterable[str], known: Mapping[str, Any], of: str, option: str = "") -> dict[str, Any]:
    """Parse ``KEY=VALUE`` by the types of a component's parameters.

    Args:
        given: What was typed.
        known: The parameters, of :func:`neurozoo.recipe.params.component_params`.
        of: The component, for the error.
        option: The option that they were given with, for the error.

    Raises:
        UserError: One has no ``=``.
    """
    values: dict[str, Any] = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals:
            raise UserError(f"{option}{each!r} is not KEY=VALUE; {of} has: {', '.join(known) or 'none'}")
        values[key] = parsed(text, known[key].annotation) if key in known else text
    return values


def answer(as_json: bool, document: object, text: str) -> None:
    """Print a command's result: the JSON document with ``--json``, else the text."""
    if as_json:
        emit(document)
    else:
        print(text)


def emit(value: object) -> None:
    """Print one JSON document."""
    print(json.dumps(plain(value), indent=2, allow_nan=False), flush=True)


def plain(value: Any) -> Any:
    """Convert a value to what JSON can hold; NaN and infinity become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def write(out: Path, page: str) -> None:
    """Write a page whole or not at all.

    Raises:
        UserError: It cannot be written.
    """
    try:
        write_whole(out, page.encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another file") from error
