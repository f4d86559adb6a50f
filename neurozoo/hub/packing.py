"""A finished run as a folder for a model hub: weights, recipe, model card and manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from neurozoo.core.leaves import leaves
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.hub.licences import checked_licence
from neurozoo.hub.model_card import model_card
from neurozoo.operations.profiling import kept_profile, profile_run
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.loading import load
from neurozoo.runs.packed import CARD, MANIFEST, RECIPE, SCHEMA, WEIGHTS, Packed
from neurozoo.runs.run import Run, write_json
from neurozoo.runs.trained_folder import Trained
from neurozoo.studies.intervals import defined, spread

__all__ = ["SEEDS", "pack"]

SEEDS = "seeds.json"
"""What lies next to the runs of a training over several seeds."""
SAMPLES = 200
"""Of so many samples of valid operations are counted, where the run has kept no profile."""


def pack(run: str | Path, out: str | Path | None = None, *, licence: str | None = None, notes: str = "") -> Path:
    """Pack a finished run; see ``docs/zoo.md`` for what the folder holds.

    Nothing in it names a place of this machine: the recipe names its data and no folder. It is loaded once before it
    takes its place.

    Args:
        run: The run folder. Where the folder above it holds ``seeds.json``, the card shows its intervals.
        out: The new folder; by default ``packed/`` and the run's name.
        licence: Of the weights, an SPDX expression.
        notes: Markdown for the model card.

    Returns:
        The folder.

    Raises:
        RunError: The run is not finished or is packed already, or ``out`` is not empty or cannot be written.
        UserError: The licence is none, or the recipe names a place of this machine.
        CheckpointError: The run's weights are not of its recipe's model.
    """
    run = Path(run)
    licence = None if licence is None else checked_licence(licence)
    trained = load(run)
    source = trained.source
    if source.run is None:
        raise RunError(f"{run}: is packed already; copy the folder, or name the run that it was made of")
    if not source.finished:
        raise RunError(f"{run}: is not finished; `neurozoo train --resume {run}` brings it to its end")
    if source.closed:
        raise RunError(
            f"{run}: is the run of a search, which the split {', '.join(source.closed)} is closed to; train the recipe "
            "again with what was found, and pack that run"
        )
    folder = Path("packed") / run.resolve().name if out is None else Path(out)
    Run.check_free(folder)
    recipe = _portable_recipe(trained.recipe)
    summary = {key: value for key, value in source.summary.items() if key != "run"}
    operations, task = _operations(source), trained.module.problem.task
    packed = Packed(
        schema=SCHEMA,
        name=recipe.name,
        description=recipe.description,
        licence=licence,
        task={"name": task.name, "outputs": list(task.outputs), "per_step": task.per_step},
        # As JSON has it, so that what is sealed is what is read back.
        signals={
            name: {**asdict(each), "shape": list(each.shape)} for name, each in trained.module.problem.signals.items()
        },
        summary=_portable(summary if operations is None else {**summary, "operations": operations}),
        seeds=_portable(_seeds(source.run.folder, summary)),
        files={},
    )
    content = {
        CARD: model_card(packed, recipe, notes).encode(),
        WEIGHTS: source.checkpoint.read_bytes(),
        RECIPE: recipe.to_yaml().encode(),
    }
    files = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    try:
        new = PartialFolder(folder)
        try:
            for name, data in content.items():
                write_whole(new.path / name, data)
            write_json(new.path / MANIFEST, replace(packed, files=files).sealed().content())
            load(new.path)
            new.finish()
        finally:
            new.close()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
    return folder


def _operations(source: Trained) -> dict[str, Any] | None:
    """The profile that the run keeps, or else one that is made here; None where the data it was trained on is not."""
    profile = kept_profile(source)
    if profile is None:
        try:
            profile = profile_run(source.folder, samples=SAMPLES)
        except DataError:
            return None
    return profile.to_dict() if profile.same_data else None


def _portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe without this machine's places: its data by name.

    Raises:
        UserError: Something else in it is such a place.
    """
    data = recipe.data
    name = data.name or Path(str(data.root)).resolve().name
    there = recipe.model_copy(update={"data": data.model_copy(update={"root": None, "name": name})})
    before, after = dict(leaves(there.content)), dict(leaves(_portable(there.content)))
    if places := [key for key, value in before.items() if after[key] != value]:
        raise UserError(
            f"{recipe.name}: {', '.join(places)} names a place of this machine, which is nowhere else; "
            "train with a name or a path relative to the folder of the recipe"
        )
    return there


def _portable(value: Any) -> Any:
    """Plain values with the last part of every path that is of this machine alone."""
    if isinstance(value, Mapping):
        return {key: _portable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_portable(each) for each in value]
    if isinstance(value, str):
        # An override or an option may be KEY=PATH.
        before, equals, text = value.rpartition("=")
        path = PureWindowsPath(text) if PureWindowsPath(text).drive else PurePosixPath(text)
        return f"{before}{equals}{path.name}" if path.is_absolute() or text.startswith("~/") else value
    return value


def _seeds(run: Path, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """What lies next to the run about several seeds; None where nothing is.

    Raises:
        RunError: It cannot be read, or does not hold this run's numbers.
    """
    path = run.resolve().parent / SEEDS
    if not path.is_file():
        return None
    try:
        # As in summary.json, null stands for what is not finite.
        found: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
        if found["schema"] != 1:
            raise ValueError(f"its schema is {found['schema']!r}")
        place = found["seeds"].index(summary["seed"])
        same = found["recipe"] == summary["recipe"] and all(
            estimate["values"][place] == summary["metrics"][split][name]
            for split, by_name in found["metrics"].items()
            for name, estimate in by_name.items()
        )
        added_up = all(
            _follows(estimate)
            for kind in ("metrics", "lesion")
            for by_name in found[kind].values()
            for estimate in by_name.values()
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: cannot be read as the intervals over the seeds of {run.name} ({type(error).__name__}: {error}); "
            "train the seeds again, or move the run to another folder"
        ) from error
    if not same:
        raise RunError(
            f"{path}: holds other numbers than {run.name}/summary.json; train the seeds again, or move the run to "
            "another folder"
        )
    if not added_up:
        raise RunError(
            f"{path}: its means, deviations or intervals are not those of its values; train the seeds again, or move "
            "the run to another folder"
        )
    return found


def _follows(estimate: Mapping[str, Any]) -> bool:
    """Whether what is said of several seeds' values comes from them."""
    follows = asdict(spread([defined(value) for value in estimate["values"]]))

    def right(name: str) -> bool:
        said = defined(estimate[name])
        return abs(said - follows[name]) < 1e-6 or (math.isnan(said) and math.isnan(follows[name]))

    return all(right(name) for name in ("mean", "deviation", "low", "high"))
