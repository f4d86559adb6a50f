"""The main job: from a recipe to a run folder."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.interfaces import ZooModel
from neurozoo.core.processes import lost_partners_told, processes
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.evaluation.evaluate import evaluate_model
from neurozoo.evaluation.health import health_warnings
from neurozoo.models.build import assemble, inputs_of, open_data, parameters_by_component, shapes_of
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import load_checkpoint, load_tensors, write_tensors
from neurozoo.runs.run import Run, environment
from neurozoo.runs.trained_folder import Trained
from neurozoo.training.engine import Engine, started_processes
from neurozoo.training.fitting import Fitting, checkpoint_metadata
from neurozoo.training.loggers import Loggers
from neurozoo.training.metrics import DEFINITIONS
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import prepare
from neurozoo.training.reporter import Reporter
from neurozoo.training.step import Stepper

__all__ = ["adopt", "dry_run", "own_random_numbers", "resume", "train"]


def train(
    recipe: Recipe,
    out: Path | None = None,
    *,
    reporter: Reporter | None = None,
    closed: Collection[str] = (),
    start: Trained | None = None,
) -> dict[str, Any]:
    """Train a recipe's model and measure it.

    Args:
        recipe: A checked recipe.
        out: The run folder to make; by default a new one under ``runs/``.
        reporter: Hears of the progress.
        closed: Splits that neither this run nor anything on it may open, such as ``test`` while something is tuned.
        start: A trained model of the same shape, whose weights and statistics it begins with.

    Returns:
        What the run's ``summary.json`` holds.

    Raises:
        UserError: The data, the recipe or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite. The run
            folder keeps the last whole epoch.
    """
    if out is None and started_processes() > 1:
        raise UserError(f"{started_processes()} processes train into one run folder that all see; give it as --out")
    folder = out or default_folder(recipe)
    engine, loggers = Engine.of(recipe.training), Loggers(recipe)
    with engine.one_first():
        if engine.first:
            Run.check_free(folder)
        view = open_data(recipe, closed=closed)
        _check_splits(view, recipe)
        run = Run.create(folder, recipe, closed=closed) if engine.first else Run(folder)
    try:
        told = loggers.beside(reporter or Reporter(), run) if engine.first else nullcontext(Reporter())
        with _held(run, engine), own_random_numbers(recipe), told as heard, lost_partners_told():
            return _train(recipe, view, run, engine, heard, start)
    except Exception:
        if engine.first and not run.last.is_file() and not run.state.is_file():
            run.discard()  # it holds nothing yet, and would be in the way of the next try
        raise


def resume(folder: Path, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Go on with a run that did not come to its end, as if it had never stopped.

    Weights, metrics and predictions become those of an undisturbed run, to the bit on the same machine
    and versions.

    Args:
        folder: The run folder.
        reporter: Hears of the progress.

    Returns:
        What the run's ``summary.json`` holds.

    Raises:
        RunError: It is no run, is finished, or another process is at it.
        CheckpointError: Its state is damaged.
        DataError: The data is not what it was trained on.
        NeurozooError: As :func:`train`.
    """
    run = Run(folder)
    recipe = run.recipe()
    engine, loggers = Engine.of(recipe.training), Loggers(recipe)
    with _held(run, engine):
        if run.finished:
            raise RunError(f"{folder}: is finished; to train longer, begin a new run with more training.epochs")
        with engine.one_first():
            view = open_data(recipe, closed=run.closed)
        _check_splits(view, recipe)
        if (folder / "data.json").is_file():
            before, now = run.read_json("data.json").get("checksum"), view.description.checksum
            if before != now:
                raise DataError(
                    f"{folder}: its data had the checksum {str(before)[:12]}..., and has {now[:12]}... now; "
                    "put the old data back, or train anew"
                )
        told = loggers.beside(reporter or Reporter(), run) if engine.first else nullcontext(Reporter())
        with own_random_numbers(recipe), told as heard, lost_partners_told():
            _take_threads_of(run, recipe)
            return _train(recipe, view, run, engine, heard)


def _take_threads_of(run: Run, recipe: Recipe) -> None:
    """Go on with as many threads as it was begun with: sums round otherwise with another number of them."""
    if recipe.training.threads is None and (run.folder / "environment.json").is_file():
        begun = run.read_json("environment.json")
        if begun.get("threads") and begun.get("processes") == processes():
            torch.set_num_threads(begun["threads"])


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """One training step on made-up data of the right shape; writes nothing.

    Raises:
        UserError: As :func:`train`, where neither the data nor the recipe give the shapes.
    """
    modalities, labels, from_data = shapes_of(recipe)
    engine = Engine.of(recipe.training)
    with own_random_numbers(recipe):
        dims = {name: modality.dim for name, modality in modalities.items()}
        model = assemble(recipe, inputs_of(recipe, dims, len(labels))).to(engine.device)
        batch = made_up(modalities, labels, min(recipe.training.batch_size, 8), recipe.seed).to(engine.device)
        with closing(Stepper(model, make_optimizer(recipe, model), recipe, engine=engine)) as stepper:
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


def default_folder(recipe: Recipe) -> Path:
    """A new folder under ``runs/``, named after the recipe and the time (UTC)."""
    return Path("runs") / f"{recipe.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _train(
    recipe: Recipe, view: DataView, run: Run, engine: Engine, reporter: Reporter, start: Trained | None = None
) -> dict[str, Any]:
    started, device = time.monotonic(), engine.device
    here = {**environment(device), "processes": processes()}
    if engine.first:
        run.write_json("data.json", _data_record(view))
        run.write_json("environment.json", here)

    model = assemble(recipe, inputs_of(recipe, view.dims, len(view.labels))).to(device)
    header = _header(run, recipe, model, view)
    reporter.started({**header, "epochs": recipe.training.epochs, "device": str(device)})
    if view.description.synthetic:
        reporter.warning(SYNTHETIC_NOTICE)

    if run.state.is_file():
        fitting = Fitting(model, view, recipe, run, engine)
        engine.part_random_numbers(recipe.seed)
        fitting.restore()
    else:
        if engine.first:
            run.keep_records(0)
        if start is None:
            prepare(model, view, recipe)
        else:
            load_checkpoint(start.checkpoint, model)
        fitting = Fitting(model, view, recipe, run, engine)
        engine.part_random_numbers(recipe.seed)
    fitted = fitting.run(reporter)
    told = []
    if fitted.best is None:
        told.append(
            f"training.best={recipe.training.best} is not defined on valid, so the first epoch's weights "
            "were kept; use loss"
        )
    begun = {}
    if start is not None:
        begun = {
            "started_from": {"recipe": start.recipe.name, "sha256": sha256(start.checkpoint.read_bytes()).hexdigest()}
        }
    summary = _measured(
        {**header, "epochs": fitted.epoch - 1, "best_epoch": fitted.best_epoch, **begun},
        run, recipe, model, view, engine, reporter, told, here, started,
    )  # fmt: skip
    if engine.first:
        run.state.unlink(missing_ok=True)  # nothing goes on from here, and it is the largest file
    reporter.finished(summary)
    return summary


def adopt(
    recipe: Recipe,
    tensors: Mapping[str, Tensor],
    out: Path,
    *,
    origin: Mapping[str, Any],
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Make a run of weights that were trained elsewhere, measured as a training's are.

    Args:
        recipe: A checked recipe of the model that they are of.
        tensors: By name; statistics that are not among them stay as a new model's.
        out: The run folder to make.
        origin: Where they are from, for ``summary.json``.
        reporter: Hears of warnings and of the summary.

    Returns:
        What the run's ``summary.json`` holds; ``epochs`` is 0.

    Raises:
        UserError: The data or the run folder cannot be used.
        CheckpointError: The weights are of another model.
    """
    reporter, started, engine = reporter or Reporter(), time.monotonic(), Engine.of(recipe.training)
    Run.check_free(out)
    view = open_data(recipe)
    _check_splits(view, recipe)
    with own_random_numbers(recipe):
        model = assemble(recipe, inputs_of(recipe, view.dims, len(view.labels)))
        if recipe.data.standardise:
            prepare(model, view, recipe)
        load_tensors(out, {**model.state_dict(), **tensors}, model)
        model.to(engine.device)
        run = Run.create(out, recipe)
        try:
            here = {**environment(engine.device), "processes": processes()}
            run.write_json("data.json", _data_record(view))
            run.write_json("environment.json", here)
            header = _header(run, recipe, model, view)
            metadata = checkpoint_metadata(recipe, view)
            for path in (run.best, run.last):
                write_tensors(path, model.state_dict(), {**metadata, "epoch": 0})
            header |= {"epochs": 0, "best_epoch": 0, "imported": dict(origin)}
            if view.description.synthetic:
                reporter.warning(SYNTHETIC_NOTICE)
            summary = _measured(header, run, recipe, model, view, engine, reporter, [], here, started)
        except BaseException:
            run.discard()
            raise
    reporter.finished(summary)
    return summary


def _header(run: Run, recipe: Recipe, model: ZooModel, view: DataView) -> dict[str, Any]:
    parameters = parameters_by_component(model)
    return {
        "run": str(run.folder),
        "recipe": recipe.name,
        "model": recipe.model.name,
        "backend": recipe.backend,
        "seed": recipe.seed,
        "synthetic": view.description.synthetic,
        "parameters": sum(parameters.values()),
        "parameters_by_component": parameters,
        "data": _data_record(view),
    }


def _measured(
    header: Mapping[str, Any],
    run: Run,
    recipe: Recipe,
    model: ZooModel,
    view: DataView,
    engine: Engine,
    reporter: Reporter,
    told: Sequence[str],
    here: Mapping[str, Any],
    started: float,
) -> dict[str, Any]:
    """The best weights measured, and the run's ``summary.json`` written and returned."""
    evaluation = evaluate_model(run.best, model, view, recipe, device=engine.device)
    if engine.first:
        evaluation.write_predictions(run.folder / "predictions")
    warnings = [*health_warnings(evaluation.health["valid"], evaluation.threshold, evaluation.lesion), *told]
    for warning in warnings:
        reporter.warning(warning)
    notices = [SYNTHETIC_NOTICE] if view.description.synthetic else []
    summary = {
        "schema": 1,
        "status": "finished",
        **header,
        **evaluation.to_dict(),
        "metric_definitions": DEFINITIONS,
        "warnings": [*notices, *warnings, *reporter.problems],
        "recipe_digest": recipe.digest,
        "environment": here,
        "duration_seconds": time.monotonic() - started,
    }
    if engine.first:
        run.write_json("summary.json", summary)
    return summary


def _held(run: Run, engine: Engine) -> AbstractContextManager[None]:
    """Nobody else trains in it meanwhile; for all processes of a training the first one holds it."""
    return run.held() if engine.first else nullcontext()


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
        "modalities": {m: {"dim": each.dim, "length": each.length} for m, each in description.modalities.items()},
        "labels": list(description.labels),
        "splits": description.splits,
        "origin": description.origin,
        "synthetic": description.synthetic,
        "checksum": description.checksum,
    }


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
