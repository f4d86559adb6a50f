"""``data fetch``: public files by their URLs, under terms that are shown and accepted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit
from neurozoo.errors import UserError
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from rich.progress import TaskID

    from neurozoo.data.fetch.fetching import Needs

__all__ = ["fetch"]

_RATE = 10e6
"""Bytes a second, to say how long it may take before anything has come."""


def fetch(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="What to fetch; without, what there is.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where to; by default beside the installed data.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="A,B", help="These files alone; `data fetch` has their names.")
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the terms without a question.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Fetch files anew that are there.")] = False,
    json: Json = False,
) -> None:
    """Fetch public files by their URLs; the same command goes on where it broke off.

    Terms, citation, and the disk and time it takes are said first. Checksums are recorded when a file
    first came whole, and checked ever after: the exit status is 3 where one differs.
    """
    from neurozoo.data.fetch.catalogue import CATALOGUE, find

    if name is None:
        if json:
            emit({"public": [asdict(data) for data in CATALOGUE.values()]})
            return
        for data in CATALOGUE.values():
            print(f"{data.name}: {data.summary}")
            print(columns([file.name, "" if file.usual else "(only by --only)", file.url] for file in data.files))
        return

    from neurozoo.data.fetch.fetching import Fetch
    from neurozoo.data.locations import data_home

    data = find(name)
    folder = to if to is not None else data_home() / "fetched" / name
    names = [each.strip() for each in (only or "").split(",") if each.strip()]
    job = Fetch(data, folder, names, again=again)
    print(f"{data.name}: {data.summary}\nterms: {data.licence}\ncitation: {data.citation}", file=sys.stderr)
    needs = job.needs()
    print(_said(needs, folder), file=sys.stderr)
    if not (accept_licence or job.accepted):
        _ask()
    with _progress() as told:
        files = job.run(told)
    if json:
        emit({"name": name, "folder": folder, "files": [asdict(file) for file in files], "next": data.told(folder)})
        return
    print(columns([file.path, file.state, f"{file.bytes:,} bytes", f"sha256 {file.sha256[:12]}"] for file in files))
    print(f"next: {data.told(folder)}")


def _said(needs: Needs, folder: Path) -> str:
    if not needs.files:
        return f"nothing is missing in {folder}"
    size = f"{needs.download / 1e6:,.1f} MB" + (
        f" and {', '.join(needs.unsaid)}, of which the server does not say how large," if needs.unsaid else ""
    )
    minutes = needs.download / _RATE / 60
    time = "less than a minute" if minutes < 1 else f"{minutes:,.0f} minutes"
    return (
        f"{len(needs.files)} files to {folder}: {size} to come, {needs.free / 1e6:,.0f} MB free; "
        f"{time} at {_RATE / 1e6:g} MB a second"
    )


def _ask() -> None:
    """Have the terms accepted.

    Raises:
        UserError: Nobody is there to ask.
        typer.Exit: They are not.
    """
    if not sys.stdin.isatty():
        raise UserError("the terms above are to be accepted, and nobody is there to ask; give --accept-licence")
    if not typer.confirm("Do you accept these terms?", err=True):
        raise UserError("the terms were not accepted; nothing was fetched")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar with speed and time left on the error output where that is a terminal, a line a file elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False)
    looks = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), *looks, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def told(path: str, done: int, of: int | None) -> None:
            if path not in tasks:
                tasks[path] = bars.add_task(path, total=of)
                if not console.is_terminal:
                    console.print(f"fetching {path}" + (f", from byte {done:,} on" if done else ""))
            bars.update(tasks[path], completed=done, total=of)

        yield told
