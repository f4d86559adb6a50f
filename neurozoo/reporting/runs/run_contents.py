"""A run as a report shows it, finished or not: what its folder holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.compare.runs import OnData
from neurozoo.core.task import Decision, Task
from neurozoo.errors import RunError, UserError
from neurozoo.models.build import make_problem
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import data_name

__all__ = ["MOST_RUNS", "REPORT", "Predicted", "ReportedRun", "read_runs"]

REPORT = "report.html"
"""The name of a run's page in its folder."""
MOST_RUNS = 6
"""As many as there are colours."""


@dataclass(frozen=True)
class Predicted:
    """The predictions of a split: of each sample, or of each step that counts.

    Attributes:
        target: ``[n, ...]``, in the task's form.
        predicted: ``[n, K]``: probabilities, or values in the target's unit.
    """

    target: NDArray[Any]
    predicted: NDArray[np.float64]


@dataclass(frozen=True)
class ReportedRun(OnData):
    """What a run's folder holds; an unfinished run has an empty summary and may lack the rest.

    Attributes:
        folder: Where it is.
        name: What it is called on the page: short, and no two the same.
        place: Its number from 0, which gives its colour.
        recipe: The recipe's name.
        content: The resolved recipe.
        records: The epochs so far.
        summary: What summary.json holds.
        environment: What environment.json holds.
        predictions: By split, those that are not empty.
        task: What the outputs mean; None if the run did not get that far.
        outputs: Names of the K labels, classes or quantities.
        decision: How predictions become answers; the task's default if the run is not finished.
    """

    folder: Path
    name: str
    place: int
    recipe: str
    content: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any]
    environment: Mapping[str, Any]
    predictions: Mapping[str, Predicted]
    task: Task | None
    outputs: tuple[str, ...]
    decision: Decision

    def among(self, runs: Sequence[ReportedRun]) -> str:
        """What tells the run apart in a column's head; empty if it is the only one."""
        return f", {self.name}" if len(runs) > 1 else ""


def read_runs(folders: Sequence[Path]) -> list[ReportedRun]:
    """Read what run folders hold.

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
    names = [folder.resolve().name for folder in folders]
    count = Counter(names)
    return [
        _read(folder, name if count[name] == 1 else str(folder), place)
        for place, (folder, name) in enumerate(zip(folders, names, strict=True))
    ]


def _read(folder: Path, name: str, place: int) -> ReportedRun:
    run = Run(folder)
    recipe = run.recipe()
    content = recipe.content
    data, summary, environment = map(run.read_json_if_there, ("data.json", "summary.json", "environment.json"))
    # Runs made before there were tasks have labels alone.
    outputs = data["task"]["outputs"] if "task" in data else data.get("labels")
    task = make_problem(recipe, {}, outputs).task if outputs else None
    decision = None if task is None else task.default_decision
    predictions = {
        path.stem: _predicted(path, folder, outputs) for path in sorted((folder / "predictions").glob("*.safetensors"))
    }
    return ReportedRun(
        folder=folder,
        run=str(folder),
        name=name,
        place=place,
        recipe=recipe.name,
        content=content,
        records=run.records(),
        summary=summary,
        environment=environment,
        data=data_name(content["data"], data),
        checksum=str(data.get("checksum", "")),
        synthetic=bool(data.get("synthetic")),
        splits=data.get("splits", {}),
        predictions={split: made for split, made in predictions.items() if len(made.target)},
        task=task,
        outputs=() if task is None else task.outputs,
        definitions=summary.get("metric_definitions", {} if task is None else task.definitions),
        decision=summary.get("decision", summary.get("decision_threshold", decision)),
    )


def _predicted(path: Path, run: Path, outputs: Sequence[str] | None) -> Predicted:
    tensors, _ = read_tensors(path, inside=run)
    # Before there were tasks these had the names of multi-label.
    names = ("target", "predicted") if "target" in tensors else ("labels", "probabilities")
    if not tensors.keys() >= set(names):
        raise RunError(f"{path}: holds no {' and '.join(names)}; copy the run folder again from its source")
    target, predicted = (tensors[name] for name in names)
    if predicted.dim() != 2 or len(target) != len(predicted) or predicted.shape[1] != len(outputs or ()):
        raise RunError(
            f"{path}: predictions {list(predicted.shape)} and targets {list(target.shape)} are not those of "
            f"{len(outputs or ())} outputs; copy the run folder again from its source"
        )
    return Predicted(target.numpy(), predicted.double().numpy())
