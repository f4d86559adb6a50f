"""``data``: make a store, look at one, check one, guess what a file is, and fetch public ones."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import DIFFERENT, Html, Json, answer, check_writable, key_values, plain, write
from neurozoo.cli.streams import say
from neurozoo.core.leaves import leaves
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import DataError, UserError
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from neurozoo.data.fetch.fetching import Needs
    from neurozoo.data.store import Store

__all__ = ["app"]

app = typer.Typer(help="Fetch data, make a store of it, look at one, and check one.", rich_markup_mode=None)

GUESS = "guess"
_RATE = 10e6
"""Bytes a second, assumed to estimate how long a download may take."""

Source = Annotated[Path, typer.Argument(metavar="SOURCE", help="A file or a folder.")]
StoreFolder = Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder.")]


@app.command("fetch")
def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="What to fetch; without, what there is.", autocompletion=completion.public_data
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to; by default next to the installed data.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="A,B", help="These files alone; `data fetch` has their names.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms without a question.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Download files again that are there.")] = False,
    json: Json = False,
) -> None:
    """Fetch public files by their URLs; the same command continues an interrupted download.

    Terms, citation, and the disk and time it takes are shown first. Checksums are recorded when a file
    first came whole, and checked ever after: the exit status is 3 if one differs.
    """
    from neurozoo.data.fetch.catalogue import CATALOGUE, find

    if name is None:
        lines = []
        for data in CATALOGUE.values():
            lines.append(f"{data.name}: {data.summary}")
            lines.append(
                columns([each.name, "" if each.usual else "(only by --only)", each.url] for each in data.files)
            )
        answer(json, {"public": list(CATALOGUE.values())}, "\n".join(lines))
        return

    from neurozoo.cli.bars import downloads
    from neurozoo.data.fetch.fetching import Fetch
    from neurozoo.data.locations import data_home

    data = find(name)
    folder = to if to is not None else data_home() / "fetched" / name
    names = [each.strip() for each in (only or "").split(",") if each.strip()]
    if only is not None and not names:
        raise UserError(f"--only {only!r} names no file; {name} has: {', '.join(each.name for each in data.files)}")
    job = Fetch(data, folder, names, again=again)
    say(f"{data.name}: {data.summary}\nterms: {data.licence}\ncitation: {data.citation}", error=True)
    say(_needs_text(job.needs(), folder), error=True)
    if not (accept_licence or job.accepted):
        if sys.stdin is None or not sys.stdin.isatty():
            raise UserError("the terms above are to be accepted, and nobody is there to ask; give --accept-licence")
        if not typer.confirm("Do you accept these terms?", err=True):
            raise UserError("the terms were not accepted; nothing was fetched")
    with downloads() as on_progress:
        files = job.run(on_progress)
    rows = [[each.path, each.state, f"{each.bytes:,} bytes", f"sha256 {each.sha256[:12]}"] for each in files]
    following = data.next_command.format(folder=folder)
    document = {"name": name, "folder": folder, "files": files, "next": following}
    answer(json, document, f"{columns(rows)}\nnext: {following}")


def _needs_text(needs: Needs, folder: Path) -> str:
    if not needs.files:
        return f"nothing is missing in {folder}"
    size = f"{needs.download / 1e6:,.1f} MB"
    if needs.unsaid:
        size += f" and {', '.join(needs.unsaid)}, of which the server does not say how large,"
    minutes = needs.download / _RATE / 60
    time = "less than a minute" if minutes < 1 else f"{minutes:,.0f} minutes"
    return (
        f"{len(needs.files)} files to {folder}: {size} to come, {needs.free / 1e6:,.0f} MB free; "
        f"{time} at {_RATE / 1e6:g} MB a second"
    )


# An importer's own options are not known before it is named, so typer passes them on unread.
@app.command("import", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def import_(
    context: typer.Context,
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="`neurozoo list importers` has them.", autocompletion=completion.importers
        ),
    ],
    source: Source,
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
    from neurozoo.data.manifest import WARNINGS

    if format == GUESS:
        found = detect_format(source)
        if not found.format:
            raise DataError(f"{source}: {found.why}")
        format, source = found.format, source.absolute().parent if found.whole_folder else source
        say(f"{source} seems to be {format}: {found.why}", error=True)
    store = import_data(format, source, dest, **_options(format, [*(option or []), *_pairs(context.args)]))
    warnings = [f"warning: {warning}" for warning in store.description.origin.get(WARNINGS, [])]
    content = _content(store)
    rows = [
        [name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)]
        for name, value in leaves(content)
        if name != f"origin.{WARNINGS}"
    ]
    notice = [SYNTHETIC_NOTICE] if store.description.synthetic else []
    answer(json, content, "\n".join([*notice, columns(rows), *warnings]))


@app.command("info")
def info(store: StoreFolder, html: Html = None, json: Json = False) -> None:
    """Show what a store holds: signals, lengths, and targets; labels alone and together; samples of each class.

    Every value is compared with the checksums first. The samples are on the page, in time, and in the JSON document.
    """
    from neurozoo.data.store import Store
    from neurozoo.data.summary import summarise
    from neurozoo.reporting.data_overview import overview_page, overview_tables
    from neurozoo.reporting.store_samples import choose_samples
    from neurozoo.reporting.tables import plain_text

    check_writable(html)
    opened = Store(store)
    opened.verify()
    summary = summarise(opened)
    chosen = choose_samples(opened)
    if html is not None:
        write(html, overview_page(opened, summary, chosen))
    content = {**_content(opened), "summary": summary, "samples": chosen.facts()}
    answer(json, content, plain_text(overview_tables(opened, summary)))


@app.command("check")
def check(store: StoreFolder, json: Json = False) -> None:
    """Read all of a store and compare it with its checksums. The exit status is 3 if it was changed."""
    from neurozoo.data.store import Store

    opened = Store(store)
    changed = opened.changed()
    verdict = (
        f"changed since written: {', '.join(changed)}" if changed else "whole, every checksum is as it was written"
    )
    answer(json, {"path": opened.path, "whole": not changed, "changed": changed}, f"{opened.path}: {verdict}")
    if changed:
        raise typer.Exit(DIFFERENT)


@app.command("guess")
def guess(source: Source, json: Json = False) -> None:
    """Guess the format of a file or folder, and show what is in it and the command that imports it."""
    from neurozoo.data.importers.run_importer import detect_format

    found = detect_format(source)
    command = found.command(source)
    lines = [f"{found.format or 'no import is needed'}: {found.why}", *(f"  {line}" for line in found.saw)]
    lines += [f"import it with: {command}"] if found.format else []
    answer(json, {**asdict(found), "command": command}, "\n".join(lines))


def _content(store: Store) -> dict[str, Any]:
    """A store's description; programs have read ``modalities`` and ``labels`` since schema 1."""
    known = store.description
    described: dict[str, Any] = plain(known)
    described["signals"] = {name: shape.to_dict() for name, shape in known.signals.items()}
    modalities = {name: {"dim": shape.dim, "length": shape.length} for name, shape in known.signals.items()}
    old = {"modalities": modalities, "labels": list(known.task.outputs)}
    return {"path": str(store.path), **old, **described, "non_finite": store.non_finite}


def _pairs(words: list[str]) -> list[str]:
    """Convert ``--NAME VALUE`` and ``--NAME=VALUE`` to ``NAME=VALUE``."""
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
    """Parse ``key=value`` by the types of the importer's options."""
    from neurozoo.recipe.params import component_params
    from neurozoo.registry.registry import default_registry

    known = component_params(default_registry().resolve("importer", format))
    options = key_values(given, known, repr(format), "--option ")
    for key, value in options.items():
        if key in known and (problem := known[key].problem(value)):
            raise DataError(f"--option {key}: {problem}")
    return options
