"""What several commands share: options, exit statuses, JSON documents, and the files that a command writes."""

from __future__ import annotations

import json
import math
import os
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli import completion
from neurozoo.cli.streams import print_document, say
from neurozoo.errors import UserError
from neurozoo.files.writing import write_whole

__all__ = [
    "DIFFERENT", "FAILED", "MOST", "TRAINED", "Backend", "DataRoot", "Engine", "Html", "Json", "Overrides", "Run",
    "Split", "answer", "check_writable", "emit", "key_values", "parsed", "plain", "write",
]  # fmt: skip

FAILED, DIFFERENT = 1, 3
"""Exit statuses: the work could not be done; something was compared and differs."""

MOST = 1_000_000
"""The largest number that an option for a count takes."""

TRAINED = "A run folder, a packed one, a model of `neurozoo list zoo`, or hf://USER/NAME[@REVISION]."

Split = StrEnum("Split", ["test", "valid", "train"])
"""The splits that can be measured."""

Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Another backend; `neurozoo list backends` has them.",
        autocompletion=completion.backends,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="Who runs the layers, such as events; `neurozoo list engines` has them.",
        autocompletion=completion.engines,
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help=TRAINED, autocompletion=completion.models)]
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
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = annotation.__origin__
    if annotation is str:
        return text
    if typing.get_origin(annotation) is not None and str in typing.get_args(annotation):
        return [part.strip() for part in text.split(",") if part.strip()]
    is_list = typing.get_origin(annotation) in (Sequence, list, tuple) and not text.startswith("[")
    try:
        return json.loads(f"[{text}]" if is_list else text)
    except ValueError:
        return text


def key_values(given: Iterable[str], known: Mapping[str, Any], of: str, option: str = "") -> dict[str, Any]:
    """Parse ``KEY=VALUE`` by the types of a component's parameters, :func:`neurozoo.recipe.params.component_params`.

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
        say(text)


def emit(value: object) -> None:
    """Print one JSON document."""
    print_document(plain(value))


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


def check_writable(out: Path | None) -> None:
    """Refuse a file that :func:`write` cannot write, before any work is done; None is no file.

    Raises:
        UserError: It is a folder, device or pipe, or its folder cannot be written or made.
    """
    if out is None:
        return
    try:
        if out.exists() and not out.is_file():
            kind = "a folder" if out.is_dir() else "a device or pipe"
            raise UserError(f"{out}: cannot be written: it is {kind}; give the name of a file")
        folder = next(folder for folder in out.absolute().parents if os.path.lexists(folder))
        if not folder.is_dir():
            raise UserError(f"{out}: cannot be written: {folder} is not a folder; give another file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UserError(f"{out}: cannot be written: no permission in {folder}; give another file")
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another file") from error


def write(out: Path, page: str, *, inside: Path | None = None) -> None:
    """Write a page as UTF-8, whole or not at all, without following links ``inside`` a folder of strangers.

    Raises:
        UserError: It cannot be written.
    """
    try:
        write_whole(out, page.encode(), inside=inside)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another file") from error
