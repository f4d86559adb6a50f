"""The settings of the rows: as given, or the best of as many trials for each row, on valid."""

from __future__ import annotations

import json
import math
from pathlib import Path

from neurozoo.errors import RunError
from neurozoo.files.json_text import read_json
from neurozoo.recipe.overrides import override
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import write_json
from neurozoo.studies.arena.choosing import CLOSED
from neurozoo.studies.arena.description import Arena, RowEntry
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.parallel_runs import ONE_THREAD, Progress, Training, train_all
from neurozoo.studies.tuning import tune

__all__ = ["settings_of"]


def settings_of(
    arena: Arena, out: Path, jobs: int | None, launcher: Launcher, on_progress: Progress | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the overrides of each row's best setting on valid; none where the given setting is the best.

    Of the arena's trials the first is the setting that the row's recipe gives, the others are what ``neurozoo tune``
    suggests for the arena's space. Test is closed in all of them.

    Args:
        arena: The arena.
        out: Its folder.
        jobs: Trainings at a time.
        launcher: Where they are trained.
        on_progress: Called after each trial.

    Raises:
        UserError: As :func:`neurozoo.studies.tuning.search.tune`.
        NeurozooError: No trial of a row came to its end.
    """
    if arena.file.trials == 1:
        return {row.name: () for row in arena.rows}
    return {row.name: _best(arena, row, out / "settings" / row.slug, jobs, launcher, on_progress) for row in arena.rows}


def _best(
    arena: Arena, row: RowEntry, folder: Path, jobs: int | None, launcher: Launcher, on_progress: Progress | None
) -> tuple[str, ...]:
    file, lines = arena.file, (*arena.lines(row), "training.loggers=[]")
    space = {path: each.model_dump(mode="json", exclude_none=True) for path, each in file.space.items()}
    # The digest leaves the search out, so that it is compared here.
    recipe = arena.recipes[row.name]
    identity = {"recipe": recipe.digest, "trials": file.trials, "metric": file.metric, "space": json.dumps(space)}
    kept = folder / "chosen.json"
    if kept.is_file():
        found = read_json(kept, error=RunError)
        if found.get("identity") == identity:
            return tuple(found["overrides"])
    given = Training(f"{row.name}, as given", arena.source(row), (*lines, ONE_THREAD), folder / "given", CLOSED)
    checked = load_recipe(given.source, given.overrides, registry=default_registry())
    checksum = _checksum(arena)
    summary = train_all([given], folder, 1, checksum, None, launcher)[0]
    search = override("tune", {"metric": file.metric, "space": space})
    searched = tune(
        arena.source(row), *(line for line in lines if line != "tune=null"), search,
        trials=file.trials - 1, study=row.slug, jobs=jobs, out=folder / "trials", on_progress=on_progress,
        launcher=launcher,
    )  # fmt: skip
    value, best = summary["metrics"]["valid"].get(file.metric), searched.best
    is_given = best is None or best.value is None
    if not is_given and value is not None and math.isfinite(value):
        assert best is not None
        assert best.value is not None
        is_given = value <= best.value if searched.better == "lower" else value >= best.value
    overrides = () if is_given or best is None else best.overrides
    write_json(kept, {"identity": identity, "overrides": list(overrides), "given": value, "seed": checked.seed})
    return tuple(overrides)


def _checksum(arena: Arena) -> str:
    from neurozoo.models.build import open_data

    return open_data(arena.base, closed=CLOSED).description.checksum
