"""An arena: every row trained with every seed, measured once, and compared; what is there already is used again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neurozoo.core.task import Task
from neurozoo.data.view import DataView
from neurozoo.errors import UserError
from neurozoo.models.build import open_experiment
from neurozoo.runs.json_files import write_json
from neurozoo.runs.run import Run
from neurozoo.studies.arena.choosing import CLOSED
from neurozoo.studies.arena.description import Arena, RowEntry, read_arena
from neurozoo.studies.arena.gathering import gathered
from neurozoo.studies.arena.leak import leak_of, read_leak
from neurozoo.studies.arena.measuring import measure_run, read_measured, run_folder
from neurozoo.studies.arena.result import ArenaResult
from neurozoo.studies.arena.settings import settings_of
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.parallel_runs import ONE_THREAD, Progress, Training, check_no_run, train_all
from neurozoo.training.train import own_random_numbers

__all__ = ["FILE", "measure_rows", "run_arena"]

FILE = "arena.json"
"""Name of the file with the result."""


def run_arena(
    source: str | Path,
    *overrides: str,
    seeds: int | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    only: Sequence[str] = (),
    leak: bool = False,
    on_progress: Progress | None = None,
    launcher: str | Launcher = "local",
) -> ArenaResult:
    """Train and compare the rows of an arena under its protocol.

    Every training has its test split closed. After it, valid chooses epoch and thresholds, and test is opened once.
    What is finished is used again, so that an interrupted arena continues where it stopped.

    Args:
        source: An arena's file, or the name of one that comes with neurozoo.
        overrides: ``key.sub=value``, for the recipes of all rows, such as ``data.root=STORE``.
        seeds: How many, instead of the file's.
        out: The folder for the runs and ``arena.json``; by default ``runs/arena-NAME``.
        jobs: Trainings at a time, one thread each; by default one, on a cluster all of them.
        only: Names of rows; all by default. The floors are always there.
        leak: Whether to measure, after everything else, what a choice on test would have reported.
        on_progress: Called after each piece of work with its name, how many are done and of how many.
        launcher: Where the work is done, see :func:`neurozoo.studies.seeds.train_seeds`.

    Raises:
        RecipeError: The file or a row's recipe is not valid.
        UserError: The rows' data differs, or cannot be used.
        NeurozooError: A training failed; those that are finished stay.
    """
    arena, where = read_arena(source, overrides, only), Launcher.of(launcher)
    numbers = tuple(range(1, (arena.file.seeds if seeds is None else seeds) + 1))
    folder = Path("runs") / f"arena-{arena.name}" if out is None else Path(out)
    check_no_run(folder)
    signals, checksum = _check_same_data(arena)
    pairs = [(row, seed) for seed in numbers for row in arena.rows]
    total = len(pairs) * (3 if leak else 2)
    report = on_progress or (lambda *_: None)

    tuned = settings_of(arena, folder, jobs, where, on_progress)
    trainings = [
        Training(
            f"{row.name}, seed {seed}",
            arena.source(row),
            (*arena.lines(row), *tuned[row.name], f"seed={seed}", ONE_THREAD),
            run_folder(folder, row, seed),
            CLOSED,
        )
        for row, seed in pairs
    ]
    at_a_time = where.at_a_time(jobs, len(pairs))
    train_all(trainings, folder, at_a_time, checksum, lambda name, done, _: report(name, done, total), where)

    command = ["arena", str(arena.path), *overrides, "--seeds", str(len(numbers)), "--out", str(folder)]
    work = [("measure", _measure_missing, len(pairs))] + ([("leak", _leak_missing, 2 * len(pairs))] if leak else [])
    for what, missing, before in work:
        left = [row for row in arena.rows if missing(arena, folder, row, numbers)]
        done = before + len(numbers) * (len(arena.rows) - len(left))
        if where.is_local and at_a_time == 1:
            for row in left:
                for seed in measure_rows(arena, folder, [row.name], numbers, what):
                    done += 1
                    report(f"{row.name}, seed {seed}: measured", done, total)
            continue
        with where.open(at_a_time, folder) as commands:
            futures = {
                commands.submit(
                    commands.run_again,
                    f"{row.name}: measuring",
                    [*command, "--work", f"{what}:{row.name}", "--json"],
                ): row
                for row in left
            }
            for future in as_completed(futures):
                future.result()
                done += len(numbers)
                report(f"{futures[future].name}: measured", done, total)
    found = gathered(arena, folder, numbers, tuned, signals)
    write_json(folder / FILE, {key: value for key, value in asdict(found).items() if key != "folder"})
    return found


def measure_rows(
    arena: Arena, out: Path, names: Sequence[str], seeds: Sequence[int], what: str = "measure"
) -> Iterator[int]:
    """Measure the seeds of some rows, or their leak, in this process; yields each seed.

    Raises:
        NeurozooError: A run is not there, or cannot be used.
    """
    signals = tuple(open_experiment(arena.base, closed=CLOSED).view.signals)
    for row in arena.rows:
        for seed in seeds if row.name in names else ():
            with own_random_numbers(Run(run_folder(out, row, seed)).recipe()):
                if what == "leak":
                    if read_leak(arena, out, row, seed) is None:
                        leak_of(arena, out, row, seed)
                elif read_measured(arena, out, row, seed) is None:
                    measure_run(arena, out, row, seed, signals)
            yield seed


def _measure_missing(arena: Arena, out: Path, row: RowEntry, seeds: Sequence[int]) -> bool:
    return any(read_measured(arena, out, row, seed) is None for seed in seeds)


def _leak_missing(arena: Arena, out: Path, row: RowEntry, seeds: Sequence[int]) -> bool:
    return any(read_leak(arena, out, row, seed) is None for seed in seeds)


def _check_same_data(arena: Arena) -> tuple[tuple[str, ...], str]:
    """Return the names of all signals and the data's checksum.

    Raises:
        UserError: A row sees other samples, another split or another task, or the task lacks the arena's metric.
    """

    def facts(view: DataView, task: Task) -> dict[str, Any]:
        return {
            "data": view.description.checksum,
            "split": view.description.splits,
            "valid samples": view.split("valid").ids,
            "task": (task.name, task.per_step, task.outputs),
        }

    base = open_experiment(arena.base, closed=CLOSED)
    task = base.problem.task
    task.better(arena.file.metric)
    expected = facts(base.view, task)
    for row in arena.rows:
        found = open_experiment(arena.recipes[row.name], closed=CLOSED)
        for what, value in facts(found.view, found.problem.task).items():
            if value != expected[what]:
                raise UserError(
                    f"{row.name}: its {what} differs from that of the arena's recipe, {arena.file.recipe}; rows are "
                    "compared on the same samples, folds and labels"
                )
        for name, shape in found.view.signals.items():
            if base.view.signals.get(name) != shape:
                raise UserError(
                    f"{row.name}: sees the signal {name} as {shape}, and the arena's recipe "
                    f"{base.view.signals.get(name, 'does not have it')}; rows are compared on the same features"
                )
    return tuple(base.view.signals), base.view.description.checksum
