"""``data import`` and ``data info``: make a store, and look at one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import columns, emit, plain
from neurozoo.cli.values import parsed
from neurozoo.content import leaves
from neurozoo.errors import DataError

__all__ = ["app"]

app = typer.Typer(help="Make a data store, and look at one.", rich_markup_mode=None)


@app.command("import")
def import_(
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="`neurozoo list importers` has them.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The files to read.")],
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The store's folder; new or empty.")],
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the importer; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a store of other people's files."""
    from neurozoo.data.importing import import_data

    store = import_data(format, source, dest, **_options(format, option or []))
    _tell(store, json)


@app.command("info")
def info(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")],
    json: Json = False,
) -> None:
    """Say what a store holds, after every value of it was checked against its checksums."""
    from neurozoo.data.store import Store

    opened = Store(store)
    opened.verify()
    _tell(opened, json)


def _tell(store: Any, json: bool) -> None:
    content = {"path": store.path, **plain(store.description), "non_finite": store.non_finite}
    if json:
        emit(content)
        return
    if store.description.synthetic:
        print("SYNTHETIC data: its values are made up")
    print(columns([name, _text(value)] for name, value in leaves(plain(content))))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _options(format: str, given: list[str]) -> dict[str, Any]:
    """The importer's options, made of text by its annotations: a list is parted at commas.

    Raises:
        DataError: One is not ``key=value``, or its value is of the wrong type.
    """
    from neurozoo.params import component_params
    from neurozoo.registry import default_registry

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
