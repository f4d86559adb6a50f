"""A finished run as a folder for a model hub: weights, recipe, model card and manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from neurozoo.core.earlier_names import current_name
from neurozoo.core.leaves import leaves
from neurozoo.core.task import Task
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.files.json_text import read_json
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.hub.metadata import checked_licence
from neurozoo.hub.model_card import model_card
from neurozoo.operations.latency import measure_latency
from neurozoo.operations.profiling import kept_profile, profile_run
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.json_files import write_json
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.packed import CARD, MANIFEST, RECIPE, SCHEMA, WEIGHTS, Packed
from neurozoo.runs.run import Run, check_free
from neurozoo.runs.trained_folder import Trained, data_name, own_description
from neurozoo.studies.intervals import defined, spread
from neurozoo.studies.seeds import FILE
from neurozoo.tasks.multiclass import Multiclass, confusion

__all__ = ["pack", "write_packed"]

LATENCY = "latency.json"
"""Where a run keeps the time of a sample alone."""
MOST_CLASSES = 64
"""The manifest of a model of more classes has no confusion matrix."""
SAMPLES = 200
"""How many samples of valid operations are counted of, if the run has kept no profile."""


def pack(run: str | Path, out: str | Path | None = None, *, licence: str | None = None, notes: str = "") -> Path:
    """Pack a finished run; see ``docs/packing.md`` for what the folder holds.

    No file names a path of this machine: the recipe names its data and no folder. The folder is loaded once before it
    is moved to its place.

    Args:
        run: The run folder. If the folder above it holds ``seeds.json``, the card shows its intervals.
        out: The new folder; by default ``packed/`` and the run's name.
        licence: Of the weights, an SPDX expression.
        notes: Markdown for the model card.

    Returns:
        The folder.

    Raises:
        RunError: The run is not finished or is packed already, or ``out`` is not empty or cannot be written.
        UserError: The licence is no SPDX expression, or the recipe names a path of this machine.
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
            "again with the best parameters, and pack that run"
        )
    folder = Path("packed") / run.resolve().name if out is None else Path(out)
    check_free(folder)
    recipe = _portable_recipe(trained.recipe, source)
    summary = {key: value for key, value in source.summary.items() if key != "run"}
    problem = trained.module.problem
    measured = {
        "operations": _operations(source),
        "latency": _latency(trained, source.run),
        "confusion": _confusion(trained.task, source.run),
    }
    packed = Packed(
        schema=SCHEMA,
        name=recipe.name,
        description=recipe.description,
        licence=licence,
        task={"name": problem.task.name, "outputs": list(problem.task.outputs), "per_step": problem.task.per_step},
        # As JSON reads it back, so that the checksum is the same.
        signals={name: each.to_dict() for name, each in problem.signals.items()},
        summary=_portable({**summary, **{name: found for name, found in measured.items() if found is not None}}),
        seeds=_portable(_seeds(source.run.folder, summary)),
        files={},
    )
    write_packed(folder, packed, recipe, lambda path: write_whole(path, source.checkpoint.read_bytes()), notes)
    return folder


def write_packed(
    folder: Path, packed: Packed, recipe: Recipe, write_weights: Callable[[Path], None], notes: str = ""
) -> None:
    """Write a packed model, and load it once before it is moved to its place.

    Args:
        folder: The new folder.
        packed: Its manifest, without the hashes.
        recipe: Of the model.
        write_weights: Writes the checkpoint to a path.
        notes: Markdown for the model card.

    Raises:
        RunError: The folder cannot be written.
    """
    content = {CARD: model_card(packed, recipe, notes).encode(), RECIPE: recipe.to_yaml().encode()}
    try:
        with PartialFolder(folder) as new:
            for name, data in content.items():
                write_whole(new.path / name, data)
            write_weights(new.path / WEIGHTS)
            files = {name: hashlib.sha256((new.path / name).read_bytes()).hexdigest() for name in (*content, WEIGHTS)}
            write_json(new.path / MANIFEST, replace(packed, files=files).sealed().content())
            load(new.path)
            new.finish()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error


def _operations(source: Trained) -> dict[str, Any] | None:
    """The profile that the run keeps, or a new one; None if the data it was trained on is not here."""
    profile = kept_profile(source)
    if profile is None:
        try:
            profile = profile_run(source.folder, samples=SAMPLES)
        except DataError:
            return None
    return profile.to_dict() if profile.same_data else None


def _latency(trained: TrainedModel, run: Run) -> dict[str, Any] | None:
    """The time of a sample alone that the run keeps, or a new one, which is kept so that packing again gives the same
    bytes; None if the data is not here or the run cannot be written."""
    if not run.has(LATENCY):
        try:
            view = data_of(trained)
            run.write_json(LATENCY, asdict(measure_latency(trained, view)))
        except (DataError, RunError):
            return None
    return run.read_json(LATENCY)


def _confusion(task: Task, run: Run) -> dict[str, Any] | None:
    """How often which class is taken for which on test, ``[K, K]`` by target and prediction; None for other tasks."""
    path = run.folder / "predictions" / "test.safetensors"
    if not isinstance(task, Multiclass) or len(task.outputs) > MOST_CLASSES or not path.is_file():
        return None
    tensors, _ = read_tensors(path, inside=run.folder)
    counts = confusion(tensors["target"].numpy(), tensors["predicted"].numpy())
    return {"split": "test", "counts": counts.tolist()}


def _portable_recipe(recipe: Recipe, source: Trained) -> Recipe:
    """The recipe with its data by name instead of by folder; other paths of this machine are refused.

    Data that was given as a folder has the store's own name: the recipe's may be that of another data set.
    """
    data, of = recipe.data, recipe.content["data"]
    name = data_name(of, source.data) if data.root is not None else data.name
    changes = {
        "data": data.model_copy(update={"root": None, "name": name}),
        "description": own_description(recipe.description, of, source.data),
    }
    there = recipe.model_copy(update=changes)
    before, after = dict(leaves(there.content)), dict(leaves(_portable(there.content)))
    if places := [key for key, value in before.items() if after[key] != value]:
        raise UserError(
            f"{recipe.name}: {', '.join(places)} names a place of this machine, which is nowhere else; "
            "train with a name or a path relative to the folder of the recipe"
        )
    return there


def _portable(value: Any) -> Any:
    """Replace each absolute path in plain values by its last part."""
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
    """The intervals over seeds next to the run, if there are; refused if they are not of this run's numbers."""
    path = run.resolve().parent / FILE
    if not path.is_file():
        return None
    remedy = "train the seeds again, or move the run to another folder"
    try:
        found: dict[str, Any] = read_json(path, error=RunError)
        if found["schema"] != 1:
            raise ValueError(f"its schema is {found['schema']!r}")
        place = found["seeds"].index(summary["seed"])
        names = {current_name("recipe", each["recipe"], quiet=True) for each in (found, summary)}
        same = len(names) == 1 and all(
            estimate["values"][place] == summary["metrics"][split][name]
            for split, by_name in found["metrics"].items()
            for name, estimate in by_name.items()
        )
        consistent = all(
            _follows(estimate)
            for kind in ("metrics", "lesion")
            for by_name in found[kind].values()
            for estimate in by_name.values()
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: cannot be read as the intervals over the seeds of {run.name} ({type(error).__name__}: {error}); "
            f"{remedy}"
        ) from error
    if not same:
        raise RunError(f"{path}: holds other numbers than {run.name}/summary.json; {remedy}")
    if not consistent:
        raise RunError(f"{path}: its means, deviations or intervals are not those of its values; {remedy}")
    return found


def _follows(estimate: Mapping[str, Any]) -> bool:
    """Whether mean, deviation and interval are those of the values."""
    follows = asdict(spread([defined(value) for value in estimate["values"]]))
    pairs = [(defined(estimate[name]), follows[name]) for name in ("mean", "deviation", "low", "high")]
    return all(abs(a - b) < 1e-6 or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
