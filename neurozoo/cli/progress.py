"""What a training shows while it runs: lines and a bar for people, JSON lines for programs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from neurozoo.cli.bars import has_bars, json_line, new_console
from neurozoo.cli.failures import resumes_with
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.files.text import printable
from neurozoo.training.listener import Checkpoint, Listener

if TYPE_CHECKING:
    from neurozoo.evaluation.evaluate import Evaluation

__all__ = ["JsonListener", "RichListener"]


class JsonListener(Listener):
    """One JSON object a line on the standard error output, each with its ``event``."""

    def started(self, info: Mapping[str, Any]) -> None:
        _note_run(info)
        json_line("started", {key: value for key, value in info.items() if key != "environment"})

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        json_line("epoch", record)

    def warning(self, text: str) -> None:
        json_line("warning", {"text": text})


class RichListener(Listener):
    """A line an epoch, and on a terminal a bar with loss, firing rate, threshold and time left.

    If the output is no terminal there are lines alone, without control codes. Rich honours ``NO_COLOR``.

    Args:
        console: Where to; by default the standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or new_console(stderr=False)
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._epochs = 0
        self._headline: dict[str, str] = {}

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def started(self, info: Mapping[str, Any]) -> None:
        _note_run(info)
        self._epochs = int(info.get("epochs", 0))
        self._headline = dict(info.get("headline", {}))
        if info.get("synthetic"):
            self._line(SYNTHETIC_NOTICE, style="bold yellow")
        words = ("recipe", "model", "backend", "seed", "parameters", "device", "run")
        self._line(", ".join(f"{word} {info[word]}" for word in words if word in info))
        if has_bars(self._console):
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
        valid, threshold = record.get("valid", {}), record.get("threshold", {})
        shown = {"loss": "loss", **self._headline}
        rates = [f"{layer['rate']:.1%}" for layer in record.get("health", {}).values()]
        parts = [
            f"epoch {record['epoch']}/{self._epochs}",
            _values({"loss": record.get("train", {}).get("loss")}),
            "valid: " + _values({title: valid.get(name) for name, title in shown.items()}),
            f"rates {' '.join(rates)}" if rates else "",
            _values({"threshold mean": threshold.get("mean"), "kappa": threshold.get("kappa")}),
            f"{record['seconds']:.1f} s" if "seconds" in record else "",
            "SYNTHETIC" if record.get("synthetic") else "",
        ]
        self._line(" | ".join(filter(None, parts)))

    def warning(self, text: str) -> None:
        self._line(f"warning: {text}", style="yellow")

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        self.close()
        self._line(f"done in {summary.get('duration_seconds', 0.0):.0f} s, best epoch {summary.get('best_epoch', '-')}")

    def _line(self, text: str, style: str | None = None) -> None:
        self._console.print(printable(text), style=style)


def _note_run(info: Mapping[str, Any]) -> None:
    if "run" in info:
        resumes_with(shlex.join(["neurozoo", "train", "--resume", str(info["run"])]))


def _values(values: Mapping[str, float | None]) -> str:
    return "  ".join(
        f"firing rate {value:.1%}" if name == "rate" else f"{name} {value:.3f}"
        for name, value in values.items()
        if value is not None
    )
