"""The main job: from a recipe to a run folder."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.processes import lost_partners_told, processes
from neurozoo.data.manifest import TaskEntry
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, UserError
from neurozoo.evaluation.evaluate import evaluate_model
from neurozoo.evaluation.health import health_warnings
from neurozoo.models.build import Experiment, build_model, expected_problem, open_experiment, parameters_by_component
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import load_checkpoint, load_tensors
from neurozoo.runs.run import Run, environment
from neurozoo.runs.trained_folder import Trained
from neurozoo.training.engine import Engine, started_processes
from neurozoo.training.listener import Checkpoint, Listener, Listeners, Saved
from neurozoo.training.loggers import Logger, LoggersListener, logger_classes
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import prepare, prepare_task
from neurozoo.training.run_folder import RunFolder
from neurozoo.training.step import Stepper
from neurozoo.training.trainer import Trainer, checkpoint_metadata

__all__ = ["adopt", "dry_run", "own_random_numbers", "resume", "train"]


def train(
    recipe: str | Path | Recipe,
    *overrides: str,
    out: str | Path | None = None,
    backend: str | None = None,
    listener: Listener | None = None,
    closed: Collection[str] = (),
    start: Trained | None = None,
) -> dict[str, Any]:
    """Train a recipe's model and measure it.

    Args:
        recipe: A checked recipe, a recipe's file, or the name of a shipped one.
        overrides: ``key.sub=value``, the value in YAML.
        out: The run folder to make; by default a new one under ``runs/``.
        backend: Another backend than the recipe's.
        listener: Follows the progress.
        closed: Splits that neither this run nor anything on it may open, such as ``test`` while something is tuned.
        start: A trained model of the same shape, whose weights and statistics it begins with.

    Returns:
        What the run's ``summary.json`` holds.

    Raises:
        UserError: The data, the recipe or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite. The run
            folder keeps the last whole epoch.

    Example:
        >>> summary = neurozoo.train("smile_mosei_sound", "training.epochs=3", out="runs/first")
    """
    if not isinstance(recipe, Recipe) or overrides or backend:
        recipe = load_recipe(recipe, overrides, backend=backend, registry=default_registry())
    if out is None and started_processes() > 1:
        raise UserError(f"{started_processes()} processes train into one run folder that all see; give it as --out")
    folder = default_folder(recipe) if out is None else Path(out)
    engine, loggers = Engine.of(recipe.training), logger_classes(recipe)
    with engine.one_first():
        if engine.first:
            Run.check_free(folder)
        experiment = open_experiment(recipe, closed=closed)
        _check_splits(experiment.view, recipe)
        kept = RunFolder.begin(folder, recipe, closed=closed, first=engine.first)
    with closing(kept), own_random_numbers(recipe), lost_partners_told():
        try:
            with closing(_listeners(engine, kept, listener, loggers)) as followed:
                return _train(experiment, kept, engine, followed, start=start)
        except Exception:
            kept.discard_if_empty()
            raise


def resume(folder: Path, *, listener: Listener | None = None) -> dict[str, Any]:
    """Continue a run that did not come to its end, as if it had never stopped.

    Weights, metrics and predictions become those of an undisturbed run, to the bit on the same machine
    and versions.

    Args:
        folder: The run folder.
        listener: Follows the progress.

    Returns:
        What the run's ``summary.json`` holds.

    Raises:
        RunError: It is no run, is finished, or another process is at it.
        CheckpointError: Its state is damaged.
        DataError: The data is not what it was trained on.
        NeurozooError: As :func:`train`.
    """
    recipe = Run(folder).recipe()
    engine, loggers = Engine.of(recipe.training), logger_classes(recipe)
    with closing(RunFolder.reopen(folder, first=engine.first)) as kept:
        with engine.one_first():
            experiment = open_experiment(recipe, closed=kept.run.closed)
        _check_splits(experiment.view, recipe)
        _check_same_data(kept, experiment.view)
        with own_random_numbers(recipe), lost_partners_told():
            _take_threads_of(kept, recipe)
            with closing(_listeners(engine, kept, listener, loggers)) as followed:
                return _train(experiment, kept, engine, followed)


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """One training step on made-up data of the right shape; writes nothing.

    Raises:
        UserError: As :func:`train`, where neither the data nor the recipe give the shapes.
    """
    problem, from_data = expected_problem(recipe)
    engine = Engine.of(recipe.training)
    with own_random_numbers(recipe):
        model = build_model(recipe, problem).to(engine.device)
        task = TaskEntry(recipe.task.name, problem.task.outputs, recipe.task.per_step)
        samples = min(recipe.training.batch_size, 8)
        batch = made_up(problem.signals, task, samples, recipe.seed).to(engine.device)
        with closing(Stepper(model, make_optimizer(recipe, model), recipe, engine)) as stepper:
            values = stepper.add(batch)
            stepper.step()
    return {
        "dry_run": True,
        "synthetic": True,
        "shapes_from": "data" if from_data else "recipe",
        "backend": recipe.backend,
        "parameters": sum(parameters_by_component(model).values()),
        **{name: float(value) for name, value in values.items()},
    }


def adopt(
    recipe: Recipe,
    tensors: Mapping[str, Tensor],
    out: Path,
    *,
    origin: Mapping[str, Any],
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Make a run of weights that were trained elsewhere, measured as a training's are.

    Args:
        recipe: A checked recipe of the model that they are of.
        tensors: By name; statistics that are not among them stay as a new model's.
        out: The run folder to make.
        origin: Where they are from, for ``summary.json``.
        listener: Gets warnings and the summary.

    Returns:
        What the run's ``summary.json`` holds; ``epochs`` is 0.

    Raises:
        UserError: The data or the run folder cannot be used.
        CheckpointError: The weights are of another model.
    """
    started, engine = time.monotonic(), Engine.of(recipe.training)
    Run.check_free(out)
    experiment = open_experiment(recipe)
    view = experiment.view
    _check_splits(view, recipe)
    with own_random_numbers(recipe):
        model = experiment.build()
        if recipe.data.standardise:
            prepare(model, view, recipe)
        load_tensors(out, {**model.state_dict(), **tensors}, model)
        model.to(engine.device)
        prepare_task(model, view, engine.device)
        with closing(RunFolder.begin(out, recipe)) as kept:
            try:
                followed = Listeners([kept, listener or Listener()])
                info = _info(experiment, model, out, engine)
                followed.started(info)
                metadata = {**checkpoint_metadata(recipe, model, view), "epoch": 0}
                kept.keep(Checkpoint(model.state_dict(), metadata, True, Saved({}, {})))
                header = {**_header(info), "epochs": 0, "best_epoch": 0, "imported": dict(origin)}
                return _measured(header, experiment, model, kept.run.best, engine, followed, [], info, started)
            except BaseException:
                kept.run.discard()
                raise


def default_folder(recipe: Recipe) -> Path:
    """A new folder under ``runs/``, named after the recipe and the time (UTC)."""
    return Path("runs") / f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@contextmanager
def own_random_numbers(recipe: Recipe) -> Iterator[None]:
    """Seed torch for a run, and give the caller's random state and thread count back."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(recipe.seed)
        if recipe.training.threads is not None:
            torch.set_num_threads(recipe.training.threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _train(
    experiment: Experiment, kept: RunFolder, engine: Engine, listener: Listener, *, start: Trained | None = None
) -> dict[str, Any]:
    started, recipe, view = time.monotonic(), experiment.recipe, experiment.view
    model = experiment.build().to(engine.device)
    info = _info(experiment, model, kept.run.folder, engine)
    saved, kept.saved_state = kept.saved_state, None  # it is large, and needed once
    listener.started(info)
    if view.description.synthetic:
        listener.warning(SYNTHETIC_NOTICE)
    prepare_task(model, view, engine.device)
    if saved is None and start is None:
        prepare(model, view, recipe)
    elif start is not None:
        load_checkpoint(start.checkpoint, model)
    trainer = Trainer(model, view, recipe, engine, listener)
    engine.part_random_numbers(recipe.seed)
    if saved is not None:
        trainer.restore(saved, str(kept.run.state))
    reached = trainer.run()
    with engine.one_first():
        pass  # the others read the best weights below, which the first has written by now
    notes = []
    if reached.best is None:
        notes.append(
            f"training.best={recipe.training.best} is not defined on valid, so the first epoch's weights "
            "were kept; use loss"
        )
    header = {**_header(info), "epochs": reached.epoch - 1, "best_epoch": reached.best_epoch}
    if start is not None:
        header["started_from"] = {
            "recipe": start.recipe.name,
            "sha256": sha256(start.checkpoint.read_bytes()).hexdigest(),
        }
    return _measured(header, experiment, model, kept.run.best, engine, listener, notes, info, started)


def _measured(
    header: Mapping[str, Any],
    experiment: Experiment,
    model: Model,
    best: Path,
    engine: Engine,
    listener: Listener,
    notes: Sequence[str],
    info: Mapping[str, Any],
    started: float,
) -> dict[str, Any]:
    """Measure the best weights; returns the summary, which the listener gets as well."""
    recipe, view = experiment.recipe, experiment.view
    evaluation = evaluate_model(best, model, view, recipe, device=engine.device)
    warnings = [*health_warnings(evaluation.health["valid"], evaluation.threshold, evaluation.lesion), *notes]
    for warning in warnings:
        listener.warning(warning)
    notices = [SYNTHETIC_NOTICE] if view.description.synthetic else []
    summary = {
        "schema": 1,
        "status": "finished",
        **header,
        **evaluation.to_dict(),
        "metric_definitions": model.problem.task.definitions,
        "warnings": [*notices, *warnings, *listener.problems],
        "recipe_digest": recipe.digest,
        "environment": info["environment"],
        "duration_seconds": time.monotonic() - started,
    }
    listener.finished(summary, evaluation)
    return summary


def _listeners(
    engine: Engine, kept: RunFolder, listener: Listener | None, loggers: Mapping[str, type[Logger]]
) -> Listener:
    """Of several processes that train together, the first one is followed."""
    if not engine.first:
        return kept
    console = listener or Listener()
    written: list[Listener] = [kept]
    if loggers:
        written.append(LoggersListener(loggers, kept.run.recipe(), kept.run, console.warning))
    return Listeners([*written, console])


def _info(experiment: Experiment, model: Model, folder: Path, engine: Engine) -> dict[str, Any]:
    """What listeners get at the beginning."""
    recipe, parameters = experiment.recipe, parameters_by_component(model)
    task = model.problem.task
    return {
        "run": str(folder),
        "recipe": recipe.name,
        "model": recipe.model.name,
        "backend": recipe.backend,
        "seed": recipe.seed,
        "synthetic": experiment.view.description.synthetic,
        "parameters": sum(parameters.values()),
        "parameters_by_component": parameters,
        "data": _data_record(experiment.view),
        "headline": {metric.name: metric.title for metric in task.metrics if metric.name in task.headline},
        "epochs": recipe.training.epochs,
        "device": str(engine.device),
        "environment": {**environment(engine.device), "processes": processes()},
    }


def _header(info: Mapping[str, Any]) -> dict[str, Any]:
    """What a summary has of it."""
    return {key: value for key, value in info.items() if key not in ("headline", "epochs", "device", "environment")}


def _check_same_data(kept: RunFolder, view: DataView) -> None:
    before, now = kept.noted("data.json").get("checksum"), view.description.checksum
    if before not in (None, now):
        raise DataError(
            f"{kept.run.folder}: its data had the checksum {str(before)[:12]}..., and has {now[:12]}... now; "
            "put the old data back, or start a new run"
        )


def _take_threads_of(kept: RunFolder, recipe: Recipe) -> None:
    """Use as many threads as the run was begun with: sums round otherwise with another number of them."""
    begun = kept.noted("environment.json") if recipe.training.threads is None else {}
    if begun.get("threads") and begun.get("processes") == processes():
        torch.set_num_threads(begun["threads"])


def _check_splits(view: DataView, recipe: Recipe) -> None:
    for split in ("train", "valid"):
        if not view.description.splits.get(split):
            has = ", ".join(f"{name} ({size})" for name, size in view.description.splits.items())
            remedy = "; set data.valid={fraction: 0.2, seed: 0} to draw one from train" if split == "valid" else ""
            raise DataError(f"the data has no samples in its split {split!r}; it has: {has}{remedy}")
    least = min([recipe.evaluation.batch_size, *(size for size in view.description.splits.values() if size)])
    if least < processes():
        raise UserError(
            f"a split or evaluation.batch_size has {least} samples, and there are {processes()} processes, each of "
            "which takes part in every measurement; start fewer"
        )


def _data_record(view: DataView) -> dict[str, Any]:
    description = view.description
    return {
        "signals": {name: asdict(shape) for name, shape in description.signals.items()},
        "task": asdict(description.task),
        "splits": description.splits,
        "origin": description.origin,
        "synthetic": description.synthetic,
        "checksum": description.checksum,
    }
