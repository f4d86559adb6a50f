"""What a training run shows while it works."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from neurozoo.cli.output import plain
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.training.listener import Checkpoint, Listener

if TYPE_CHECKING:
    from neurozoo.evaluation.evaluate import Evaluation

__all__ = ["JsonListener", "RichListener", "counted", "progress_bar"]


@contextmanager
def counted(event: str, *, as_json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """What is to be called after each of several pieces of work, with its name, how many are done and of how many.

    It writes a line each to the standard error output, and on a terminal a bar below them.

    Args:
        event: What a piece is, such as ``training``.
        as_json: Whether the lines are JSON objects, without a bar.
    """
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=as_json or not console.is_terminal or console.is_dumb_terminal,
    ) as progress:
        bar = progress.add_task(f"{event}s", total=None)

        def told(name: str, done: int, total: int) -> None:
            if as_json:
                _json_line(event, {"name": name, "done": done, "total": total})
                return
            console.print(f"{done}/{total} {name}")
            progress.update(bar, completed=done, total=total)

        yield told


class JsonListener(Listener):
    """One JSON object a line on the standard error output, each with its ``event``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stderr.flush()

    def started(self, info: Mapping[str, Any]) -> None:
        self._tell("started", {key: value for key, value in info.items() if key != "environment"})

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        self._tell("epoch", record)

    def warning(self, text: str) -> None:
        self._tell("warning", {"text": text})

    def _tell(self, event: str, values: Mapping[str, Any]) -> None:
        _json_line(event, values)


class RichListener(Listener):
    """A line an epoch, and on a terminal a bar with loss, firing rate, threshold and time left.

    Where the output is no terminal there are lines alone, without control codes. Rich honours
    ``NO_COLOR``.

    Args:
        console: Where to; by default the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        # soft_wrap: a log has no width, and a long line must stay one line.
        self._console = console or Console(soft_wrap=True, markup=False, highlight=False, emoji=False)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._headline: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def started(self, info: Mapping[str, Any]) -> None:
        self._epochs = int(info.get("epochs", 0))
        self._headline = dict(info.get("headline", {}))
        if info.get("synthetic"):
            self._line(SYNTHETIC_NOTICE, style="bold yellow")
        words = ("recipe", "model", "backend", "seed", "parameters", "device", "run")
        self._line(", ".join(f"{word} {info[word]}" for word in words if word in info))
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._progress = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[values]}"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self._console,
                transient=True,
            )
            self._task = self._progress.add_task("train", total=None, epoch=f"1/{self._epochs}", values="")
            self._progress.start()

    def step(self, epoch: int, step: int, steps: int, values: Mapping[str, float]) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task,
                completed=(epoch - 1) * steps + step,
                total=self._epochs * steps,
                epoch=f"{epoch}/{self._epochs}",
                values=_values(values),
            )

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        train, valid = record.get("train", {}), record.get("valid", {})
        rates = [layer["rate"] for layer in record.get("health", {}).values()]
        parts = [f"epoch {record['epoch']}/{self._epochs}", _values({"loss": train.get("loss")})]
        shown = {"loss": "loss", **self._headline}
        parts.append("valid: " + _values({title: valid.get(name) for name, title in shown.items()}))
        if rates:
            parts.append("rates " + " ".join(f"{rate:.1%}" for rate in rates))
        parts.append(
            _values(
                {f"threshold {k}" if k == "mean" else k: record.get("threshold", {}).get(k) for k in ("mean", "kappa")}
            )
        )
        if "seconds" in record:
            parts.append(f"{record['seconds']:.1f} s")
        if record.get("synthetic"):
            parts.append("SYNTHETIC")
        self._line(" | ".join(part for part in parts if part))

    def warning(self, text: str) -> None:
        self._line(f"warning: {text}", style="yellow")

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        self.__exit__()
        self._line(f"done in {summary.get('duration_seconds', 0.0):.0f} s, best epoch {summary.get('best_epoch', '-')}")

    def _line(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style)


def _values(values: Mapping[str, float | None]) -> str:
    named = {"rate": "firing rate"}
    told = ((named.get(name, name), value) for name, value in values.items() if value is not None)
    return "  ".join(f"{name} {value:.1%}" if name == "firing rate" else f"{name} {value:.3f}" for name, value in told)


def _json_line(event: str, values: Mapping[str, Any]) -> None:
    print(json.dumps({"event": event, **plain(values)}, allow_nan=False), file=sys.stderr, flush=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on the error output where that is a terminal, and nothing elsewhere; it is told (what, done, of)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("preparing", total=None)
        yield lambda what, done, of: progress.update(bar, description=what, completed=done, total=of)
