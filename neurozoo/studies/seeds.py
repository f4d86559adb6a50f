"""One recipe with several seeds: how far its numbers spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import UserError
from neurozoo.models.build import open_data
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run, write_json
from neurozoo.studies.intervals import Spread, defined, spread
from neurozoo.studies.parallel_runs import ONE_THREAD, Training, Trainings, usable_jobs

__all__ = ["FILE", "SCHEMA", "SeedsResult", "folder_of", "train_seeds"]

SCHEMA = 1

FILE = "seeds.json"
"""What is written next to the run folders."""


@dataclass(frozen=True)
class SeedsResult:
    """What several seeds gave; ``seeds.json`` holds the same.

    Attributes:
        schema: Version of this layout.
        recipe: Its name.
        description: Its one line.
        synthetic: Whether the data is made up.
        data: Where the data comes from, its splits, task and checksum.
        overrides: What was changed in the recipe.
        seeds: The seeds, in the order of all values.
        metrics: By split and metric.
        lesion: The lesion effect, by kind and split.
        minutes: Sum of the training times.
        metric_definitions: What each metric of the task is, in the order of its tables.
    """

    schema: int
    recipe: str
    description: str
    synthetic: bool
    data: dict[str, Any]
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    metrics: dict[str, dict[str, Spread]]
    lesion: dict[str, dict[str, Spread]]
    minutes: float
    metric_definitions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def train_seeds(
    recipe: str | Path,
    *overrides: str,
    seeds: int = 5,
    out: str | Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    told: Callable[[str, int, int], None] | None = None,
) -> SeedsResult:
    """Train a recipe with its seed and the ones after it, each in a process and on a thread of its own.

    Every training is a run folder ``out/SEED``. A finished one of the same recipe and data is used again and an
    unfinished one resumed, so that an interrupted call can be repeated, and more seeds train those alone.

    Args:
        recipe: A recipe's file or name.
        overrides: ``key.sub=value``, the value in YAML.
        seeds: How many: the recipe's ``seed``, ``seed + 1``, ...
        out: The folder for the runs and ``seeds.json``; by default ``runs/seeds-RECIPE``.
        jobs: Trainings at a time; by default as many as there are cores, and never more than there are seeds.
        backend: Another backend than the recipe's.
        told: Called after each training with its name, how many are done and of how many.

    Raises:
        UserError: The recipe or the data cannot be used, or a run in ``out`` is of another recipe or other data.
        NeurozooError: A training failed; those that are finished stay.
    """
    if seeds < 1:
        raise UserError(f"asked for {seeds} seeds; give 1 or more")
    lines = (*overrides, *(() if backend is None else (f"backend={backend}",)))
    base = load_recipe(recipe, lines, registry=default_registry())
    numbers = tuple(range(base.seed, base.seed + seeds))
    load_recipe(recipe, (*lines, f"seed={numbers[-1]}"))  # refuses a seed that is too large before any training
    folder = folder_of(base.name) if out is None else Path(out)
    Run.check_no_run(folder)
    tasks = {
        Training(f"seed {seed}", str(recipe), (*lines, f"seed={seed}", ONE_THREAD), folder / str(seed)): seed
        for seed in numbers
    }
    summaries: dict[int, dict[str, Any]] = {}
    at_a_time = min(jobs or usable_jobs(base.training.device, seeds), seeds)
    with Trainings(at_a_time, open_data(base).description.checksum) as trainings:
        for done, (task, summary) in enumerate(trainings.run(list(tasks)), start=1):
            summaries[tasks[task]] = summary
            if told is not None:
                told(task.name, done, len(tasks))
    ordered = [summaries[seed] for seed in numbers]
    first = ordered[0]
    found = SeedsResult(
        SCHEMA,
        base.name,
        base.description,
        first["synthetic"],
        {key: first["data"][key] for key in ("origin", "splits", "checksum", "task")},
        lines,
        numbers,
        _spreads([summary["metrics"] for summary in ordered]),
        _spreads([summary["lesion"] for summary in ordered]),
        sum(summary["duration_seconds"] for summary in ordered) / 60,
        first["metric_definitions"],
    )
    write_json(folder / FILE, found.to_dict())
    return found


def folder_of(recipe: str) -> Path:
    """Where the runs of a recipe of that name go by default; the same each time, so that they are found again."""
    return Path("runs") / f"seeds-{recipe}"


def _spreads(values: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, Spread]]:
    """Of the same nested numbers of each seed, null being one that is not defined."""
    return {
        outer: {inner: spread([defined(each[outer][inner]) for each in values]) for inner in values[0][outer]}
        for outer in values[0]
    }
