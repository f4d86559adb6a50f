"""Several trainings, each in its own process and a few at a time; what is there already is used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import RunError, UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.writing import write_whole
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.device import choose_device
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import own_description
from neurozoo.studies.launchers.jobs import JobDied, Jobs
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.launchers.local import cores
from neurozoo.training.run_folder import numbered

__all__ = [
    "MARK",
    "ONE_THREAD",
    "Progress",
    "RecipeSource",
    "Training",
    "check_no_run",
    "described",
    "is_done",
    "recipe_argument",
    "train_all",
    "train_study",
    "usable_jobs",
]

ONE_THREAD = "training.threads=1"
"""Override of each training, so that several at a time do not compete for cores."""

RecipeSource = str | Path | Recipe | Mapping[str, Any]
"""A recipe's file or name, a recipe that was read before, or the content of a file as a dictionary."""

_RECIPES = ".recipes"
"""Name of the folder in a study's folder for recipes that no file holds."""

MARK = ".study"
"""Empty file in a study's folder as soon as it holds a run: its result is written at the end alone."""

Progress = Callable[[str, int, int], None]
"""Called after each training with its name, how many are done and of how many."""


@dataclass(frozen=True)
class Training:
    """One training: what to call it, the recipe, changes to it, the run folder, and the splits that stay closed."""

    name: str
    source: RecipeSource
    overrides: tuple[str, ...]
    folder: Path
    closed: tuple[str, ...] = ()


def check_no_run(folder: Path) -> None:
    """Check that a folder for many runs is not a run itself.

    Raises:
        RunError: It is a run.
    """
    if (folder / "recipe.yaml").is_file():
        raise RunError(f"{folder}: is a single run, to which no runs can be added; give another --out")


def train_study(
    source: RecipeSource,
    variants: Mapping[str, tuple[str, Sequence[str]]],
    out: Path | None,
    default: Path,
    jobs: int,
    checksum: str,
    on_progress: Progress | None = None,
    launcher: Launcher | None = None,
) -> tuple[Path, list[dict[str, Any]]]:
    """Train variants of a recipe in separate processes, a few at a time and on one thread each.

    A finished run of the same recipe and data is used again, and one that was stopped is resumed.

    Args:
        source: The recipe.
        variants: By the subfolder of the run, what to call the training, and its overrides.
        out: The folder; by default ``default``, with a number if runs of another recipe or data are in it.
        default: See ``out``.
        jobs: How many trainings at a time.
        checksum: Of the data.
        on_progress: See :data:`Progress`.
        launcher: Where they are trained; by default in child processes.

    Returns:
        The folder, and the runs' summaries in order.

    Raises:
        RunError: The folder is a run, or a run in it is of another recipe or of other data.
        NeurozooError: A training failed; the others are stopped.
    """

    def trainings_in(folder: Path, recipe: RecipeSource) -> list[Training]:
        return [
            Training(name, recipe, (*overrides, ONE_THREAD), folder / place)
            for place, (name, overrides) in variants.items()
        ]

    def is_free(folder: Path) -> bool:
        begun = [each for each in trainings_in(folder, source) if (each.folder / "recipe.yaml").is_file()]
        return not (folder / "recipe.yaml").is_file() and all(_is_same(each, checksum) for each in begun)

    folder = next(filter(is_free, numbered(default))) if out is None else out
    check_no_run(folder)
    trainings = trainings_in(folder, source)
    if not all(is_done(each, checksum) for each in trainings):
        trainings = trainings_in(folder, recipe_argument(source, folder))
    return folder, train_all(trainings, folder, jobs, checksum, on_progress, launcher)


def train_all(
    trainings: Sequence[Training],
    folder: Path,
    jobs: int,
    checksum: str,
    on_progress: Progress | None = None,
    launcher: Launcher | None = None,
) -> list[dict[str, Any]]:
    """Train several recipes in separate processes, as :func:`train_study`; returns the summaries in order.

    Args:
        trainings: Each with a recipe that a command can name, see :func:`recipe_argument`.
        folder: Of the study.
        jobs: How many trainings at a time.
        checksum: Of the data.
        on_progress: See :data:`Progress`.
        launcher: Where they are trained; by default in child processes.

    Raises:
        RunError: A run is of another recipe or of other data.
        NeurozooError: A training failed; the others are stopped.
    """
    if all(is_done(each, checksum) for each in trainings):
        launcher = None  # no cluster is needed
    with (launcher or Launcher()).open(jobs, folder) as commands:
        futures = {commands.submit(_trained, commands, each, checksum, folder): each for each in trainings}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            if on_progress is not None:
                on_progress(futures[future].name, done, len(futures))
    return [future.result() for future in futures]


def described(recipe: Recipe, summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts that the results of all studies begin with, from the summaries of their runs."""
    first = summaries[0]
    return {
        "recipe": recipe.name,
        "description": own_description(recipe.description, recipe.content["data"], first["data"]),
        "synthetic": first["synthetic"],
        "data": {key: first["data"][key] for key in ("origin", "splits", "checksum", "task")},
        "minutes": sum(summary["duration_seconds"] for summary in summaries) / 60,
    }


def recipe_argument(source: RecipeSource, folder: Path) -> str:
    """Return what a command calls a recipe: its file or name, or a file in a study's folder that is written now."""
    if isinstance(source, str | Path):
        return str(source)
    recipe = load_recipe(source)
    path = folder / _RECIPES / f"{recipe.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, recipe.to_yaml().encode())
    return str(path)


def _trained(commands: Jobs, training: Training, checksum: str, study: Path) -> dict[str, Any]:
    """Return the summary of a run as :func:`_summary`, and mark the folder above as a study's."""
    try:
        return _summary(commands, training, checksum)
    finally:
        if (training.folder / "recipe.yaml").is_file():
            with suppress(OSError):  # where nothing can be written everything was trained before
                (study / MARK).touch()


def _summary(commands: Jobs, training: Training, checksum: str, deaths: int = 0) -> dict[str, Any]:
    """Return the summary of a run, which is trained now unless that was done before."""
    folder = training.folder
    begun = (folder / "recipe.yaml").is_file()
    if begun:
        # Another process trains in it: the same command once more, or a child of a killed one.
        while _is_used(folder) and not commands.left.is_set():
            commands.left.wait(0.2)
        if not _is_same(training, checksum):
            raise RunError(f"{folder}: made with another recipe or other data; give another --out")
        if Run(folder).finished:
            return Run(folder).read_json("summary.json")
        arguments = ["--resume", str(folder)]
    else:
        closed = [argument for split in training.closed for argument in ("--close", split)]
        arguments = [str(training.source), *training.overrides, *closed, "--out", str(folder)]
    try:
        commands.run(training.name, ["train", *arguments, "--json"])
    except JobDied as died:
        commands.check_retry(died, deaths + 1)
        return _summary(commands, training, checksum, deaths + 1)
    except UserError:
        if not (folder / "recipe.yaml").is_file() or (begun and not Run(folder).finished and not _is_used(folder)):
            raise
        return _summary(commands, training, checksum, deaths)  # another process began or resumed it in the meantime
    return Run(folder).read_json("summary.json")


def is_done(training: Training, checksum: str) -> bool:
    """Return whether a run is finished and nobody writes to it."""
    folder = training.folder
    there = (folder / "recipe.yaml").is_file() and not _is_used(folder)
    return there and Run(folder).finished and _is_same(training, checksum)


def _is_used(folder: Path) -> bool:
    try:
        unlock_folder(lock_folder(folder, wait=False))
    except BlockingIOError:
        return True
    return False


def _is_same(training: Training, checksum: str) -> bool:
    run = Run(training.folder)
    # With the components' defaults of today, which a run of an earlier version does not name.
    made_with = load_recipe(run.recipe_path, registry=default_registry())
    wanted = load_recipe(training.source, training.overrides, registry=default_registry())
    summary = run.read_json_if_there("summary.json")
    same = not summary or made_with.is_of(summary.get("recipe_digest"))
    # A run that was stopped at its very beginning may not have noted its data yet.
    found = (summary["data"] if summary else run.read_json_if_there("data.json")).get("checksum", checksum)
    same = same and made_with.digest == wanted.digest and run.closed == training.closed
    return same and found == checksum


def usable_jobs(device: str, most: int) -> int:
    """Return how many of ``most`` trainings to run at a time: one a core, or one alone on an accelerator.

    Raises:
        UserError: The device, a recipe's ``training.device``, is not available.
    """
    if choose_device(device).type != "cpu":
        return 1
    return max(1, min(cores(), most))
