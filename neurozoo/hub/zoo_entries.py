"""What a packed model is and does, on one line: task, data, score, size, operations and time.

This module does not import torch, so that models can be listed quickly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurozoo.operations.result import OperationsProfile
from neurozoo.reporting.tables import number, short_count, synthetic_mark
from neurozoo.runs.packed import Packed, read_manifest, read_packed
from neurozoo.runs.shipped_models import shipped_model, shipped_models

__all__ = ["HEAD", "NOTES", "SCORES", "ZooEntry", "entry_of", "read_entry", "shipped_entries", "sorted_entries"]

SCORES = {
    "multilabel": ("micro_f1", "micro F1", "higher"),
    "multiclass": ("accuracy", "accuracy", "higher"),
    "regression": ("rmse", "RMSE", "lower"),
}
"""Name and title of the metric that is shown of a task, the first of its ``headline``, and which values are better."""

HEAD = ["name", "task", "data", "score on test", "parameters", "operations", "ms"]
"""The columns of :meth:`ZooEntry.cells`."""

NOTES = (
    "score: mean over the seeds with its 95 % interval, or that of a single seed, which has none",
    "operations: additions and multiplications of a sample, mean over samples of valid, zeros skipped",
    "ms: a sample alone, median over samples of valid, on one thread of the processor that --json and the gallery name",
    "a dash: not recorded when the model was packed",
)
"""What the columns mean."""


@dataclass(frozen=True)
class ZooEntry:
    """A packed model's numbers; None where its manifest has none.

    Attributes:
        name: Its folder's name.
        summary: The recipe's description.
        task: The task's name.
        per_step: Whether it answers at each position.
        outputs: Number of labels, classes or quantities.
        data: The name of its data.
        synthetic: Whether that is made up.
        metric: Name of the metric that ``score`` is.
        title: The same as shown.
        better: Whether higher or lower scores are better.
        score: On test: the mean over the seeds, or of the one seed.
        low: Lower end of the 95 % interval over the seeds.
        high: Its upper end.
        seeds: Number of seeds.
        own_score: Of these weights, on test.
        parameters: Learnable parameters.
        operations: Additions and multiplications a sample, zeros skipped, attention included.
        accumulations: Of those the additions that spikes cause.
        milliseconds: Of a sample alone.
        processor: What that was measured on.
    """

    name: str
    summary: str
    task: str
    per_step: bool
    outputs: int
    data: str
    synthetic: bool
    metric: str
    title: str
    better: str
    score: float | None
    low: float | None
    high: float | None
    seeds: int
    own_score: float | None
    parameters: int | None
    operations: float | None
    accumulations: float | None
    milliseconds: float | None
    processor: str | None

    @property
    def task_text(self) -> str:
        """The task in words: ``10 classes``."""
        noun = {"multilabel": "labels", "multiclass": "classes", "regression": "quantities"}.get(self.task, self.task)
        return f"{self.outputs} {noun}{' per step' if self.per_step else ''}"

    @property
    def score_text(self) -> str:
        """The score with its interval: ``accuracy 0.867 (0.846 to 0.888)``."""
        if self.score is None:
            return "-"
        interval = f" ({number(self.low, 3)} to {number(self.high, 3)})" if self.low is not None else " (one seed)"
        return f"{self.title} {number(self.score, 3)}{interval}"

    def cells(self) -> list[str]:
        """The columns of :data:`HEAD`."""
        return [
            self.name,
            self.task_text,
            f"{self.data}{synthetic_mark(self.synthetic)}",
            self.score_text,
            "-" if self.parameters is None else f"{self.parameters:,}",
            short_count(self.operations),
            "-" if self.milliseconds is None else f"{self.milliseconds:.3g}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """All attributes."""
        return asdict(self)


def entry_of(name: str, packed: Packed) -> ZooEntry:
    """Return the entry of a manifest."""
    summary, data = packed.summary, packed.summary.get("data", {})
    task: dict[str, Any] = packed.task or {"name": "multilabel", "per_step": False}
    scores = summary.get("metrics", {}).get("test", {})
    known = next(iter(summary.get("metric_definitions", scores)), "score")
    metric, title, better = SCORES.get(task["name"], (known, known.replace("_", " "), "higher"))
    own = scores.get(metric)
    spread = {} if packed.seeds is None else packed.seeds["metrics"].get("test", {}).get(metric, {})
    profile = summary.get("operations")
    counts = None if profile is None else OperationsProfile.from_dict(profile, f"{name}, its operations").network
    latency = summary.get("latency") or {}
    return ZooEntry(
        name=name,
        summary=packed.description,
        task=task["name"],
        per_step=task["per_step"],
        outputs=len(packed.outputs),
        data=str(data.get("name") or data.get("origin", {}).get("source", "-")),
        synthetic=packed.synthetic,
        metric=metric,
        title=title,
        better=better,
        score=spread.get("mean", own),
        low=spread.get("low"),
        high=spread.get("high"),
        seeds=1 if packed.seeds is None else len(packed.seeds["seeds"]),
        own_score=own,
        parameters=summary.get("parameters"),
        operations=None if counts is None else counts.a_sample(counts.macs + counts.acs + counts.attention),
        accumulations=None if counts is None else counts.a_sample(counts.acs),
        milliseconds=latency.get("milliseconds"),
        processor=latency.get("processor"),
    )


def read_entry(folder: Path) -> tuple[ZooEntry, Packed]:
    """Return a packed folder's entry and manifest, after comparing its files with their hashes.

    Raises:
        CheckpointError: It is no packed model, or differs from what was packed.
    """
    packed = read_packed(folder)
    return entry_of(folder.resolve().name, packed), packed


def shipped_entries() -> list[ZooEntry]:
    """Return the entries of the models that come with neurozoo, sorted; only their manifests are read."""
    found = ((name, shipped_model(name)) for name in shipped_models())
    return sorted_entries(entry_of(name, read_manifest(folder)) for name, folder in found if folder is not None)


def sorted_entries(entries: Iterable[ZooEntry]) -> list[ZooEntry]:
    """Sort by data, then the best score first, then name; made-up data comes last."""

    def key(entry: ZooEntry) -> tuple[bool, str, str, bool, float, str]:
        score = entry.score or 0.0
        signed = -score if entry.better == "higher" else score
        return entry.synthetic, entry.data, entry.metric, entry.score is None, signed, entry.name

    return sorted(entries, key=key)
