"""The main job: from a recipe to a run folder."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.processes import lost_partners_told, processes
from neurozoo.core.signals import SignalShape
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import CheckpointError, DataError, NeurozooError, UserError, out_of_memory
from neurozoo.evaluation.evaluate import evaluate_model
from neurozoo.evaluation.health import health_warnings, unseen_spikes
from neurozoo.files.opening import sha256_of
from neurozoo.models.build import Experiment, build_model, expected_problem, open_experiment, parameters_by_component
from neurozoo.recipe.recipe import FASTEST, Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import load_checkpoint, load_tensors
from neurozoo.runs.run import Run, environment
from neurozoo.runs.trained_folder import Trained
from neurozoo.training.engine import Engine, started_processes
from neurozoo.training.listener import Checkpoint, Listener, Listeners, Saved
from neurozoo.training.loggers import Logger, LoggersListener, logger_classes
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.prepare import check_recorded, prepare, prepare_task
from neurozoo.training.run_folder import RunFolder
from neurozoo.training.step import Stepper
from neurozoo.training.trainer import Trainer, checkpoint_metadata

__all__ = ["adopt", "dry_run", "own_random_numbers", "resume", "train"]

_DRY_NUMBERS = 2**17
"""About as many numbers has the batch of a dry run."""
_DRY_EMBEDDING = 2**11
"""For how many of them a token counts."""


def train(
    recipe: str | Path | Recipe | Mapping[str, Any],
    *overrides: str,
    out: str | Path | None = None,
    backend: str | None = None,
    listener: Listener | None = None,
    closed: Collection[str] = (),
    start: Trained | None = None,
) -> dict[str, Any]:
    """Train a recipe's model and measure it.

    Args:
        recipe: A checked recipe, a recipe's file, the name of a shipped one, or the content of a file as a dictionary.
        overrides: ``key.sub=value``, the value in YAML.
        out: The run folder to make; by default a new one under ``runs/``.
        backend: Another backend than the recipe's.
        listener: Follows the progress.
        closed: Splits that neither this run nor later commands on it may open, such as ``test`` during a search.
        start: A trained model of the same shape, whose weights and statistics it begins with; splits that are closed
            for it are closed for this run.

    Returns:
        The content of ``summary.json``.

    Raises:
        UserError: The data, the recipe or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite. The run
            folder keeps the last whole epoch.

    Example:
        >>> summary = neurozoo.train("smile_mosei_corrected", "training.epochs=3", out="runs/first")
    """
    if not isinstance(recipe, Recipe) or overrides or backend or recipe.backend == FASTEST:
        recipe = load_recipe(recipe, overrides, backend=backend, registry=default_registry())
    if out is None and started_processes() > 1:
        raise UserError(f"{started_processes()} processes train into one run folder that all see; give it as --out")
    folder = default_folder(recipe) if out is None else Path(out)
    closed = {*closed, *(() if start is None else start.closed)}  # its weights were chosen with them closed
    engine, loggers = Engine.of(recipe.training), logger_classes(recipe)
    with engine.one_first():
        kept = RunFolder.begin(folder, recipe, closed=closed, first=engine.first, or_next=out is None)
    with kept, _named_failures(kept):
        try:
            with engine.one_first():
                experiment = _checked(open_experiment(recipe, closed=closed))
            with (
                own_random_numbers(recipe),
                lost_partners_told(),
                closing(_listeners(experiment, kept, engine, loggers, listener)) as followed,
            ):
                return _Training(kept, engine, followed).run(experiment, start)
        except Exception:
            kept.discard(unless_trained=True)
            raise


def resume(folder: Path, *, listener: Listener | None = None, data_root: str | Path | None = None) -> dict[str, Any]:
    """Continue a run that did not come to its end, as if it had never stopped.

    Weights, metrics and predictions become those of an undisturbed run, to the bit on the same machine
    and versions.

    Args:
        folder: The run folder.
        listener: Follows the progress.
        data_root: The store, if it is not where it was.

    Returns:
        The content of ``summary.json``.

    Raises:
        RunError: It is no run, is finished, or another process is training in it.
        CheckpointError: Its state is damaged.
        DataError: The data differs from what it was trained on.
        NeurozooError: As :func:`train`.
    """
    run = Run(folder)
    recipe = run.recipe()
    engine, loggers = Engine.of(recipe.training), logger_classes(recipe)
    with RunFolder.reopen(run, recipe, first=engine.first) as kept:
        with engine.one_first():
            view = Trained(run.folder, recipe, run.best, run).open_data(data_root)
            experiment = _checked(open_experiment(recipe, view=view))
        before, now = run.read_json_if_there("data.json").get("checksum"), experiment.view.description.checksum
        if before not in (None, now):
            raise DataError(
                f"{folder}: its data had the checksum {str(before)[:12]}..., and has {now[:12]}... now; put the old "
                "data back, or start a new run"
            )
        with own_random_numbers(recipe), lost_partners_told(), _named_failures(kept):
            begun = run.read_json_if_there("environment.json") if recipe.training.threads is None else {}
            if begun.get("threads") and begun.get("processes") == processes():
                torch.set_num_threads(begun["threads"])  # another number of threads rounds sums differently
            with closing(_listeners(experiment, kept, engine, loggers, listener)) as followed:
                return _Training(kept, engine, followed).run(experiment)


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """One training step on made-up data of the right shape; writes nothing.

    Raises:
        UserError: As :func:`train`, where neither the data nor the recipe give the shapes.
    """
    if recipe.backend == FASTEST:
        recipe = load_recipe(recipe, registry=default_registry())
    problem, from_data = expected_problem(recipe)
    engine = Engine.of(recipe.training)
    with own_random_numbers(recipe):
        model = build_model(recipe, problem).to(engine.device)
        signals, samples = _few(problem.signals, recipe.training.batch_size)
        batch = made_up(signals, problem.task, samples, recipe.seed).to(engine.device)
        with closing(Stepper(model, make_optimizer(recipe, model), recipe, engine)) as stepper:
            values = stepper.add(batch)
            stepper.step()
            alone = processes() == 1 and recipe.training.precision == "32-true"  # without lightning-fabric's wrappers
            norms = stepper.gradient_norms(batch) if alone else {}
    return {
        "dry_run": True,
        "synthetic": True,
        "shapes_from": "data" if from_data else "recipe",
        "backend": recipe.backend,
        "parameters": sum(parameters_by_component(model).values()),
        **{name: float(value) for name, value in values.items()},
        **({f"gradient_norm_{name}": norm for name, norm in norms.items()} if len(norms) > 1 else {}),
    }


def _few(signals: Mapping[str, SignalShape], batch_size: int) -> tuple[dict[str, SignalShape], int]:
    """Return the shapes and the number of samples of a dry run's batch, which takes seconds on a small machine.

    There are two samples with pictures or frames, whose activations are many times as large as they, else up to eight.
    Of large frames and of tokens, each of which becomes an embedding, there are few positions.
    """
    pictures = any(len(shape.shape) == 3 for shape in signals.values())
    few, numbers = {}, 0
    for name, shape in signals.items():
        dim = shape.dim if shape.shape else _DRY_EMBEDDING
        few[name] = shape
        if len(shape.shape) in (0, 3):
            few[name] = replace(shape, length=min(shape.length, max(_DRY_NUMBERS // (4 * dim), 2)))
        numbers += dim * few[name].length
    return few, min(2 if pictures else max(_DRY_NUMBERS // numbers, 2), batch_size, 8)


def adopt(
    recipe: Recipe,
    tensors: Mapping[str, Tensor],
    out: Path,
    *,
    origin: Mapping[str, Any],
    listener: Listener | None = None,
) -> dict[str, Any]:
    """Make a run of weights that were trained elsewhere, and measure it like a training.

    Args:
        recipe: A checked recipe of the weights' model.
        tensors: Weights by name; missing statistics stay as in a new model.
        out: The run folder to make.
        origin: Where the weights are from, for ``summary.json``.
        listener: Gets warnings and the summary.

    Returns:
        The content of ``summary.json``; ``epochs`` is 0.

    Raises:
        UserError: The data or the run folder cannot be used.
        CheckpointError: The weights are of another model.
    """
    engine = Engine.of(recipe.training)
    with RunFolder.begin(out, recipe) as kept:
        try:
            experiment = _checked(open_experiment(recipe))
            view = experiment.view
            with own_random_numbers(recipe), closing(Listeners([kept, listener or Listener()])) as followed:
                training = _Training(kept, engine, followed)
                model = experiment.build()
                if recipe.data.standardise:
                    prepare(model, view, recipe)
                load_tensors(out, {**model.state_dict(), **tensors}, model)
                model.to(engine.device)
                prepare_task(model, view, engine.device)
                info = training.started(experiment, model)
                metadata = {**checkpoint_metadata(recipe, model, view), "epoch": 0}
                kept.keep(Checkpoint(model.state_dict(), metadata, True, Saved({}, {})))
                header = {**info, "epochs": 0, "best_epoch": 0, "imported": dict(origin)}
                return training.measured(experiment, model, header)
        except BaseException:
            kept.discard()
            raise


def default_folder(recipe: Recipe) -> Path:
    """Return a new folder under ``runs/``, named after the recipe and the time (UTC)."""
    return Path("runs") / f"{recipe.name[:100]}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


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


@contextmanager
def _named_failures(kept: RunFolder) -> Iterator[None]:
    """Name failures of memory and of numbers that are too large, and tell an interrupted user how to continue."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        if kept.resumable:
            interruption.add_note(f"`neurozoo train --resume {shlex.quote(str(kept.run.folder))}` continues it")
        raise
    except (MemoryError, OverflowError, RuntimeError) as error:
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        if out_of_memory(error):
            raise NeurozooError(
                f"there is not enough memory ({text}); lower training.batch_size or evaluation.batch_size, or the "
                "width of the model"
            ) from error
        if isinstance(error, OverflowError) or "overflow" in text:
            raise NeurozooError(
                f"a number is too large to compute with ({text}); lower training.optimizer.lr, training.epochs or the "
                "parameter that is so large"
            ) from error
        raise


class _Training:
    """Trains and measures in a run folder, on some device, followed by listeners."""

    def __init__(self, kept: RunFolder, engine: Engine, listener: Listener) -> None:
        self._kept, self._engine, self._listener = kept, engine, listener
        self._started = time.monotonic()

    def run(self, experiment: Experiment, start: Trained | None = None) -> dict[str, Any]:
        """Train, from the folder's state if it has one, and measure the best weights; returns the summary."""
        recipe, view, engine, kept = experiment.recipe, experiment.view, self._engine, self._kept
        model = experiment.build().to(engine.device)
        header = self.started(experiment, model)
        saved, kept.saved_state = kept.saved_state, None  # it is large, and needed once
        if view.description.synthetic:
            self._listener.warning(SYNTHETIC_NOTICE)
        prepare_task(model, view, engine.device)
        if saved is None and start is None:
            prepare(model, view, recipe)
        elif start is not None:
            load_checkpoint(start.checkpoint, model, inside=start.folder)
            sha256 = sha256_of(start.checkpoint, inside=start.folder, error=CheckpointError)
            header["started_from"] = {"recipe": start.recipe.name, "sha256": sha256}
        first = torch.arange(min(len(view.split("train")), 8))
        notes = unseen_spikes(model, view.split("train").batch(first).to(engine.device))
        check_recorded(model, recipe, notes)
        for note in notes:
            self._listener.warning(note)
        trainer = Trainer(model, view, recipe, engine, self._listener)
        engine.part_random_numbers(recipe.seed)
        if saved is not None:
            trainer.restore(saved, str(kept.run.state))
        reached = trainer.run()
        with engine.one_first():
            pass  # the others read the best weights below, which the first has written by now
        header |= {"epochs": reached.epoch - 1, "best_epoch": reached.best_epoch}
        if reached.best is None:
            notes.append(
                f"training.best={recipe.training.best} is not defined on valid, so the first epoch's weights were "
                "kept; use loss"
            )
            self._listener.warning(notes[-1])
        return self.measured(experiment, model, header, notes)

    def started(self, experiment: Experiment, model: Model) -> dict[str, Any]:
        """Send the listeners what they get at the beginning; returns the part that the summary repeats."""
        recipe, description, task = experiment.recipe, experiment.view.description, model.problem.task
        parameters, stored = parameters_by_component(model), experiment.view.stored
        info = {
            "run": str(self._kept.run.folder),
            "recipe": recipe.name,
            "model": recipe.model.name,
            "backend": recipe.backend,
            "seed": recipe.seed,
            "synthetic": description.synthetic,
            "parameters": sum(parameters.values()),
            "parameters_by_component": parameters,
            "data": asdict(description)
            | {"signals": {name: shape.to_dict() for name, shape in description.signals.items()}}
            | ({"stored": {name: shape.to_dict() for name, shape in stored.items()}} if stored else {}),
            "environment": {**environment(self._engine.device), "processes": processes()},
        }
        headline = {metric.name: metric.title for metric in task.metrics if metric.name in task.headline}
        device, epochs = str(self._engine.device), recipe.training.epochs
        self._listener.started({**info, "headline": headline, "epochs": epochs, "device": device})
        return info

    def measured(
        self, experiment: Experiment, model: Model, header: Mapping[str, Any], notes: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Measure the best weights; returns the summary, with earlier warnings, which the listeners get as well."""
        recipe, view = experiment.recipe, experiment.view
        run, device = self._kept.run, self._engine.device
        evaluation = evaluate_model(run.best, model, view, recipe, device=device, inside=run.folder)
        warnings = health_warnings(evaluation.health["valid"], evaluation.threshold, evaluation.lesion, recipe)
        for warning in warnings:
            self._listener.warning(warning)
        notices = [SYNTHETIC_NOTICE] if view.description.synthetic else []
        summary = {
            "schema": 1,
            "status": "finished",
            **header,
            **evaluation.to_dict(),
            "metric_definitions": model.problem.task.definitions,
            "warnings": [*notices, *notes, *warnings, *self._listener.problems],
            "recipe_digest": recipe.digest,
            "duration_seconds": time.monotonic() - self._started,
        }
        self._listener.finished(summary, evaluation)
        return summary


def _listeners(
    experiment: Experiment,
    kept: RunFolder,
    engine: Engine,
    loggers: Mapping[str, type[Logger]],
    listener: Listener | None,
) -> Listener:
    """Return who follows the training; of several processes the first one is followed."""
    if not engine.first:
        return kept
    console = listener or Listener()
    made = [LoggersListener(loggers, experiment.recipe, kept.run, console.warning)] if loggers else []
    return Listeners([kept, *made, console])


def _checked(experiment: Experiment) -> Experiment:
    """Refuse data without samples to train on, or with too few for the processes."""
    splits = experiment.view.description.splits
    for split in ("train", "valid"):
        if not splits.get(split):
            has = ", ".join(f"{name} ({size})" for name, size in splits.items())
            remedy = "; set data.valid={fraction: 0.2, seed: 0} to draw one from train" if split == "valid" else ""
            raise DataError(f"the data has no samples in its split {split!r}; it has: {has}{remedy}")
    least = min([experiment.recipe.evaluation.batch_size, *(size for size in splits.values() if size)])
    if least < processes():
        raise UserError(
            f"a split or evaluation.batch_size has {least} samples, and there are {processes()} processes, each of "
            "which takes part in every measurement; start fewer"
        )
    return experiment
