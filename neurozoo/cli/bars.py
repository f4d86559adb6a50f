"""Progress bars on the standard error output; where that is no terminal, plain lines or nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from neurozoo.cli.common import plain
from neurozoo.cli.failures import resumes_with
from neurozoo.files.text import printable

__all__ = ["counted", "downloads", "has_bars", "json_line", "new_console", "progress_bar"]

OnProgress = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and of how much."""


def new_console(*, stderr: bool) -> Console:
    """A console that keeps each line of a log one line, and takes texts as they are."""
    return Console(stderr=stderr, soft_wrap=True, markup=False, highlight=False, emoji=False)


def has_bars(console: Console) -> bool:
    """Whether the output is a terminal that can redraw a line."""
    return console.is_terminal and not console.is_dumb_terminal


def json_line(event: str, values: Mapping[str, Any]) -> None:
    """Write an event as one JSON object on one line of the standard error output."""
    print(json.dumps({"event": event, **plain(values)}, allow_nan=False), file=sys.stderr, flush=True)


@contextmanager
def _bars(*columns: ProgressColumn, hidden: bool = False) -> Iterator[Progress]:
    console = new_console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *columns,
        console=console,
        transient=True,
        disable=hidden or not has_bars(console),
    ) as progress:
        yield progress


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Yield the callback of one bar, which is shown on a terminal alone."""
    with _bars(MofNCompleteColumn(), TimeElapsedColumn()) as progress:
        bar = progress.add_task("preparing", total=None)
        yield lambda what, done, of: progress.update(bar, description=printable(what), completed=done, total=of)


@contextmanager
def counted(event: str, *, as_json: bool) -> Iterator[OnProgress]:
    """Yield a callback for the end of each piece of work, such as a ``training``: a line each, and a bar below them.

    With ``as_json`` the lines are JSON objects, without a bar. If it is interrupted, the same command continues the
    work.
    """
    resumes_with()
    with _bars(MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), hidden=as_json) as progress:
        bar = progress.add_task(f"{event}s", total=None)

        def on_progress(name: str, done: int, total: int) -> None:
            if as_json:
                json_line(event, {"name": name, "done": done, "total": total})
                return
            progress.console.print(printable(f"{done}/{total} {name}"))
            progress.update(bar, completed=done, total=total)

        yield on_progress


@contextmanager
def downloads() -> Iterator[Callable[[str, int, int | None], None]]:
    """Yield a callback for the bytes of each file: bars with speed and time left on a terminal, else a line a file."""
    resumes_with()
    with _bars(DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(path: str, done: int, of: int | None) -> None:
            if path not in tasks:
                tasks[path] = progress.add_task(printable(path), total=of)
                if progress.disable:
                    progress.console.print(printable(f"fetching {path}") + (f", from byte {done:,} on" if done else ""))
            progress.update(tasks[path], completed=done, total=of)

        yield on_progress
