"""A run as a report shows it, finished or not: what its folder holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.task import Decision, Task
from neurozoo.errors import UserError
from neurozoo.models.build import make_problem
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run

__all__ = ["MOST_RUNS", "Predicted", "ReportedRun", "read_runs"]

MOST_RUNS = 6
"""As many as there are colours."""


@dataclass(frozen=True)
class Predicted:
    """What a run said of a split: of each sample, or of each step that counts.

    Attributes:
        target: ``[n, ...]``, as the task has it.
        predicted: ``[n, K]``: probabilities, or values in the target's unit.
    """

    target: NDArray[Any]
    predicted: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.target)


@dataclass(frozen=True)
class ReportedRun:
    """What a run's folder holds.

    Attributes:
        folder: Where it is.
        name: What it is called on the page: short, and no two the same.
        place: Its number from 0, which gives its colour.
        recipe: The recipe's name.
        content: The resolved recipe.
        records: The epochs so far.
        summary: Empty where it is not finished.
        about_data: What data.json holds; empty where it did not get that far.
        environment: The same of environment.json.
        predictions: By split.
        task: What the outputs mean; None where the run did not get that far.
    """

    folder: Path
    name: str
    place: int
    recipe: str
    content: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    about_data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Predicted] = field(default_factory=dict)
    task: Task | None = None

    @property
    def run(self) -> str:
        """The folder, as it was named."""
        return str(self.folder)

    @property
    def data(self) -> str:
        """Name of the data set, or its folder."""
        return str(self.content["data"].get("name") or self.content["data"].get("root"))

    @property
    def checksum(self) -> str:
        """Of the data; empty where it is not known."""
        return str(self.about_data.get("checksum", ""))

    @property
    def synthetic(self) -> bool:
        """Whether the data is made up."""
        return bool(self.about_data.get("synthetic"))

    @property
    def splits(self) -> Mapping[str, int]:
        """How many samples each split has."""
        found: Mapping[str, int] = self.about_data.get("splits", {})
        return found

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the K labels, classes or quantities; empty where they are not known."""
        return () if self.task is None else self.task.outputs

    @property
    def definitions(self) -> Mapping[str, str]:
        """What each metric is, as the summary says it, or else the task."""
        known = {} if self.task is None else self.task.definitions
        found: Mapping[str, str] = self.summary.get("metric_definitions", known)
        return found

    @property
    def decision(self) -> Decision:
        """How predictions become answers; the recipe's where the run is not finished."""
        known = None if self.task is None else self.task.default_decision
        return self.summary.get("decision", self.summary.get("decision_threshold", known))

    def predicted(self, split: str) -> Predicted | None:
        """The predictions of a split; None where there are none."""
        found = self.predictions.get(split)
        return found if found is not None and len(found) else None


def read_runs(folders: Sequence[Path]) -> list[ReportedRun]:
    """What run folders hold.

    Raises:
        RunError: One is no run folder, or a file of it is damaged.
        CheckpointError: The same of its predictions.
        UserError: There are none, too many, or one is named twice.
    """
    if not folders or len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"given were the runs {', '.join(map(str, folders)) or 'none'}; name one or more, each once")
    if len(folders) > MOST_RUNS:
        raise UserError(
            f"given were {len(folders)} runs, and a page tells {MOST_RUNS} apart by colour; give fewer, or line them "
            "up with `neurozoo compare`"
        )
    named = zip(folders, _names(folders), strict=True)
    return [_read(folder, name, place) for place, (folder, name) in enumerate(named)]


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names; the folders as they were given, where two have the same."""
    names = [folder.resolve().name for folder in folders]
    count = Counter(names)
    return [name if count[name] == 1 else str(folder) for name, folder in zip(names, folders, strict=True)]


def _read(folder: Path, name: str, place: int) -> ReportedRun:
    run = Run(folder)
    recipe = run.recipe()

    def read(file: str) -> dict[str, Any]:
        return run.read_json(file) if (folder / file).is_file() else {}

    about = read("data.json")
    # Of runs made before there were tasks.
    outputs = about["task"]["outputs"] if "task" in about else about.get("labels")
    return ReportedRun(
        folder,
        name,
        place,
        recipe.name,
        recipe.content,
        run.records(),
        read("summary.json"),
        about,
        read("environment.json"),
        {path.stem: _predicted(path) for path in sorted((folder / "predictions").glob("*.safetensors"))},
        make_problem(recipe, {}, outputs).task if outputs else None,
    )


def _predicted(path: Path) -> Predicted:
    tensors, _ = read_tensors(path)
    # Before there were tasks the same was called by the words of multi-label.
    target, predicted = (
        tensors[new if new in tensors else old] for new, old in (("target", "labels"), ("predicted", "probabilities"))
    )
    return Predicted(target.numpy(), predicted.double().numpy())
