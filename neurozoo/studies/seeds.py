"""One recipe with several seeds: how far its numbers spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import UserError
from neurozoo.models.build import open_data
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import write_json
from neurozoo.studies.intervals import Spread, defined, spread
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.parallel_runs import Progress, RecipeSource, described, train_study, usable_jobs

__all__ = ["FILE", "SCHEMA", "SeedsResult", "seeds_result", "train_seeds"]

SCHEMA = 1

FILE = "seeds.json"
"""Name of the file next to the run folders."""


@dataclass(frozen=True)
class SeedsResult:
    """The result of several seeds.

    Attributes:
        schema: Version of this layout.
        recipe: Its name.
        description: Its one line.
        synthetic: Whether the data is made up.
        data: Where the data comes from, its splits, task and checksum.
        overrides: Changes to the recipe.
        seeds: The seeds, in the order of all values.
        metrics: By split and metric.
        lesion: The lesion effect, by kind and split.
        minutes: Sum of the training times.
        metric_definitions: Of each metric of the task, in the order of its tables.
        folder: Of the runs and of ``seeds.json``, which holds all but this.
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
    folder: str


def train_seeds(
    recipe: RecipeSource,
    *overrides: str,
    seeds: int = 5,
    out: str | Path | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    on_progress: Progress | None = None,
    launcher: str | Launcher = "local",
) -> SeedsResult:
    """Train a recipe with its seed and the following ones, each in a separate process on one thread.

    Every training is a run folder ``out/SEED``. A finished one of the same recipe and data is used again and an
    unfinished one resumed, so that an interrupted call can be repeated, and more seeds train those alone.

    Args:
        recipe: A recipe's file or name, a checked recipe, or the content of a file as a dictionary.
        overrides: ``key.sub=value``, the value in YAML.
        seeds: How many: the recipe's ``seed``, ``seed + 1``, ...
        out: The folder for the runs and ``seeds.json``; by default ``runs/seeds-RECIPE``, with a number if runs of
            another recipe or data are in it.
        jobs: Trainings at a time; by default as many as there are cores, on a cluster all of them.
        backend: Another backend than the recipe's.
        on_progress: Called after each training with its name, how many are done and of how many.
        launcher: Where they are trained: in child processes (``local``), on ``slurm`` or ``dask``, or a
            :class:`~neurozoo.studies.launchers.launcher.Launcher` with options.

    Raises:
        UserError: The recipe, the launcher or the data cannot be used, or a run in ``out`` is of another recipe or
            other data.
        NeurozooError: A training failed; those that are finished stay.
    """
    if seeds < 1:
        raise UserError(f"asked for {seeds} seeds; give 1 or more")
    where = Launcher.of(launcher)
    lines = (*overrides, *(() if backend is None else (f"backend={backend}",)))
    base = load_recipe(recipe, lines, registry=default_registry())
    numbers = tuple(range(base.seed, base.seed + seeds))
    load_recipe(recipe, (*lines, f"seed={numbers[-1]}"))  # refuses a seed that is too large before any training
    runs = {str(seed): (f"seed {seed}", (*lines, f"seed={seed}")) for seed in numbers}
    # The default is the same each time, so that the runs are found again.
    default, given = Path("runs") / f"seeds-{base.name[:100]}", None if out is None else Path(out)
    here = usable_jobs(base.training.device, seeds) if where.is_local and jobs is None else 1
    at_a_time = where.at_a_time(jobs, seeds, here)
    checksum = open_data(base).description.checksum
    folder, ordered = train_study(recipe, runs, given, default, at_a_time, checksum, on_progress, where)
    found = seeds_result(base, lines, numbers, ordered, folder)
    write_json(folder / FILE, {key: value for key, value in asdict(found).items() if key != "folder"})
    return found


def seeds_result(
    recipe: Recipe,
    overrides: Sequence[str],
    seeds: Sequence[int],
    summaries: Sequence[Mapping[str, Any]],
    folder: str | Path = "",
) -> SeedsResult:
    """Return the result of runs of one recipe, from their summaries in the order of the seeds."""
    return SeedsResult(
        schema=SCHEMA,
        **described(recipe, summaries),
        overrides=tuple(overrides),
        seeds=tuple(seeds),
        metrics=_spreads([summary["metrics"] for summary in summaries]),
        lesion=_spreads([summary["lesion"] for summary in summaries]),
        metric_definitions=summaries[0]["metric_definitions"],
        folder=str(folder),
    )


def _spreads(values: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, Spread]]:
    """Return the spread of each number over the seeds' nested numbers, in which null is an undefined one."""
    return {
        outer: {inner: spread([defined(each[outer][inner]) for each in values]) for inner in values[0][outer]}
        for outer in values[0]
    }
