"""``data``: make a store, look at one, check one, guess what a file is, and fetch public ones."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli.fetch import fetch
from neurozoo.cli.options import Json, parsed
from neurozoo.cli.output import emit, plain, write
from neurozoo.core.leaves import leaves
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import DataError
from neurozoo.reporting.tables import columns

__all__ = ["app"]

app = typer.Typer(help="Fetch data, make a store of it, look at one, and check one.", rich_markup_mode=None)

app.command("fetch")(fetch)

DIFFERENT = 3
GUESS = "guess"


# An importer's own options are not known before it is named, so that typer leaves them to us.
@app.command("import", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def import_(
    context: typer.Context,
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="`neurozoo list importers` has them.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The files to read.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The store's folder; new or empty.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the importer; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a store of other people's files.

    The importer's own options come last, as --NAME VALUE, or anywhere as --option NAME=VALUE;
    `neurozoo show FORMAT` has them. The format guess takes the one that the files seem to be in.
    """
    from neurozoo.data.importers.run_importer import detect_format, import_data

    if format == GUESS:
        found = detect_format(source)
        if not found.format:
            raise DataError(f"{source}: {found.why}")
        format, source = found.format, source.absolute().parent if found.whole_folder else source
        print(f"{source} seems to be {format}: {found.why}", file=sys.stderr)
    store = import_data(format, source, dest, **_options(format, [*(option or []), *_pairs(context.args)]))
    _tell(store, json)


@app.command("info")
def info(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page with pictures as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what a store holds: signals, lengths, and targets; labels alone and together.

    Every value of it is checked against its checksums first.
    """
    from neurozoo.data.store import Store
    from neurozoo.data.summary import summarise
    from neurozoo.reporting.data_overview import overview_page, overview_tables
    from neurozoo.reporting.tables import plain_text

    opened = Store(store)
    opened.verify()
    summary = summarise(opened)
    if html is not None:
        write(html, overview_page(opened, summary))
    if json:
        emit({**_content(opened), "summary": plain(summary)})
        return
    print(plain_text(overview_tables(opened, summary)))


@app.command("check")
def check(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")],
    json: Json = False,
) -> None:
    """Read all of a store and compare it with its checksums. The exit status is 3 where it was changed."""
    from neurozoo.data.store import Store

    opened = Store(store)
    changed = opened.changed()
    if json:
        emit({"path": opened.path, "whole": not changed, "changed": changed})
    elif changed:
        print(f"{opened.path}: changed since written: {', '.join(changed)}")
    else:
        print(f"{opened.path}: whole, every checksum is as it was written")
    if changed:
        raise typer.Exit(DIFFERENT)


@app.command("guess")
def guess(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A file or a folder.")],
    json: Json = False,
) -> None:
    """Say what format a file or folder is in, what is in it, and the command that imports it."""
    from neurozoo.data.importers.run_importer import detect_format

    found = detect_format(source)
    if json:
        emit({**asdict(found), "command": found.command(source)})
        return
    print("\n".join([f"{found.format or 'no import is needed'}: {found.why}", *(f"  {line}" for line in found.saw)]))
    if found.format:
        print(f"import it with: {found.command(source)}")


def _tell(store: Any, json: bool) -> None:
    """Say what was imported."""
    content = _content(store)
    if json:
        emit(content)
        return
    if store.description.synthetic:
        print(SYNTHETIC_NOTICE)
    print(columns([name, _text(value)] for name, value in leaves(content)))


def _content(store: Any) -> dict[str, Any]:
    """A store's description; ``modalities`` and ``labels`` are what programs have read since schema 1."""
    known = store.description
    described: dict[str, Any] = plain(known)
    modalities = {name: {"dim": shape.dim, "length": shape.length} for name, shape in known.signals.items()}
    old = {"modalities": modalities, "labels": list(known.task.outputs)}
    return {"path": str(store.path), **old, **described, "non_finite": store.non_finite}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _pairs(words: list[str]) -> list[str]:
    """``--NAME VALUE`` and ``--NAME=VALUE`` as ``NAME=VALUE``.

    Raises:
        DataError: A word is neither.
    """
    pairs, left = [], list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise DataError(f"{word!r} is not expected here; an importer's options come last, as --NAME VALUE")
        name, equals, value = word[2:].partition("=")
        if not equals:
            if not left:
                raise DataError(f"{word} has no value; give {word} VALUE")
            value = left.pop(0)
        pairs.append(f"{name.replace('-', '_')}={value}")
    return pairs


def _options(format: str, given: list[str]) -> dict[str, Any]:
    """The importer's options, made of text by its annotations: a list is parted at commas.

    Raises:
        DataError: One is not ``key=value``, or its value is of the wrong type.
    """
    from neurozoo.recipe.params import component_params
    from neurozoo.registry.registry import default_registry

    known = component_params(default_registry().resolve("importer", format))
    options: dict[str, Any] = {}
    for each in given:
        key, equals, text = each.partition("=")
        if not equals:
            raise DataError(f"--option {each!r} is not KEY=VALUE; {format!r} has: {', '.join(known) or 'none'}")
        options[key] = text
        if key in known:
            options[key] = parsed(text, known[key].annotation)
            if problem := known[key].problem(options[key]):
                raise DataError(f"--option {key}: {problem}")
    return options
