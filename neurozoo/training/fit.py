"""The main job: from a recipe to a run folder."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from neurozoo.assemble import assemble, inputs_of, open_data, parameters_by_component, shapes_of
from neurozoo.data.synthetic import made_up
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.interfaces import ZooModel
from neurozoo.recipe import Recipe
from neurozoo.training.checkpoint import write_tensors
from neurozoo.training.device import choose_device
from neurozoo.training.evaluate import evaluate_model
from neurozoo.training.health import health_warnings
from neurozoo.training.loop import predict_split, train_epoch, train_step
from neurozoo.training.metrics import DEFINITIONS, multilabel_metrics
from neurozoo.training.prepare import prepare
from neurozoo.training.reporter import Reporter
from neurozoo.training.run import Run, environment

__all__ = ["dry_run", "make_optimizer", "own_random_numbers", "train"]

SYNTHETIC_NOTICE = "SYNTHETIC data: these numbers say nothing about real data and compare with no paper"


def train(recipe: Recipe, out: Path | None = None, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Train a recipe's model and measure it.

    Args:
        recipe: A checked recipe.
        out: The run folder to make; by default a new one under ``runs/``.
        reporter: Hears of the progress.

    Returns:
        What the run's ``summary.json`` holds.

    Raises:
        UserError: The data, the recipe or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite. The run
            folder keeps the last whole epoch.
    """
    folder = out or default_folder(recipe)
    Run.check_free(folder)
    device = choose_device(recipe.training.device)
    view = open_data(recipe)
    _check_splits(view)
    run = Run.create(folder, recipe)
    try:
        with own_random_numbers(recipe):
            return _train(recipe, view, run, device, reporter or Reporter())
    except Exception:
        if not run.last.is_file():
            run.discard()  # it holds nothing yet, and would be in the way of the next try
        raise


def dry_run(recipe: Recipe) -> dict[str, Any]:
    """One training step on made-up data of the right shape; writes nothing.

    Raises:
        UserError: As :func:`train`, where neither the data nor the recipe give the shapes.
    """
    modalities, labels, from_data = shapes_of(recipe)
    with own_random_numbers(recipe):
        device = choose_device(recipe.training.device)
        dims = {name: modality.dim for name, modality in modalities.items()}
        model = assemble(recipe, inputs_of(recipe, dims, len(labels))).to(device)
        batch = made_up(modalities, labels, min(recipe.training.batch_size, 8), recipe.seed).to(device)
        values = train_step(model, batch, make_optimizer(recipe, model), recipe)
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


def _train(recipe: Recipe, view: DataView, run: Run, device: torch.device, reporter: Reporter) -> dict[str, Any]:
    started = time.monotonic()
    data = _data_record(view)
    run.write_json("data.json", data)
    run.write_json("environment.json", environment(device))

    dims = {name: modality.dim for name, modality in view.modalities.items()}
    model = assemble(recipe, inputs_of(recipe, dims, len(view.labels))).to(device)
    parameters = parameters_by_component(model)
    header = {
        "run": str(run.folder),
        "recipe": recipe.name,
        "model": recipe.model.name,
        "backend": recipe.backend,
        "seed": recipe.seed,
        "synthetic": view.description.synthetic,
        "parameters": sum(parameters.values()),
        "parameters_by_component": parameters,
        "data": data,
    }
    reporter.started({**header, "epochs": recipe.training.epochs, "device": str(device)})
    notices = [SYNTHETIC_NOTICE] if view.description.synthetic else []
    for notice in notices:
        reporter.warning(notice)

    prepare(model, view, recipe)
    fitted = _fit(model, view, recipe, run, device, reporter)
    evaluation = evaluate_model(run.best, model, view, recipe, device=device)
    evaluation.write_predictions(run.folder / "predictions")
    warnings = health_warnings(evaluation.health["valid"], evaluation.threshold, evaluation.lesion)
    if fitted.best == -math.inf:
        warnings.append(
            f"training.best={recipe.training.best} is not defined on valid, so the first epoch's weights "
            "were kept; use loss"
        )
    for warning in warnings:
        reporter.warning(warning)
    summary = {
        "schema": 1,
        "status": "finished",
        **header,
        **evaluation.to_dict(),
        "metric_definitions": DEFINITIONS,
        "warnings": notices + warnings,
        "epochs": fitted.epochs,
        "best_epoch": fitted.best_epoch,
        "recipe_digest": recipe.digest,
        "environment": environment(device),
        "duration_seconds": time.monotonic() - started,
    }
    run.write_json("summary.json", summary)
    reporter.finished(summary)
    return summary


@dataclass
class _Fitted:
    """How training went.

    Attributes:
        epochs: How many were done.
        best_epoch: The one whose weights were kept.
        best: Its score, larger is better; minus infinity where the valid split does not define it.
    """

    epochs: int = 0
    best_epoch: int = 0
    best: float = -math.inf

    def better(self, score: float) -> bool:
        """Whether an epoch's weights are to be kept; the first one's always are."""
        score = -math.inf if math.isnan(score) else score
        if self.best_epoch and not score > self.best:
            return False
        self.best, self.best_epoch = score, self.epochs
        return True


def _fit(
    model: ZooModel, view: DataView, recipe: Recipe, run: Run, device: torch.device, reporter: Reporter
) -> _Fitted:
    """All epochs, each with its line of metrics.jsonl and its checkpoints."""
    training = recipe.training
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = make_optimizer(recipe, model)
    scheduler = _scheduler(recipe, optimizer)
    fitted = _Fitted()
    for epoch in range(1, training.epochs + 1):
        begun = time.monotonic()
        steps = train_epoch(
            model, view, optimizer, recipe, epoch=epoch, device=device, generator=generator, reporter=reporter
        )
        batches = view.batches("valid", recipe.evaluation.batch_size)
        valid = predict_split(model, batches, device=device, smoothing=training.label_smoothing)
        metrics = multilabel_metrics(
            valid.labels.numpy(), valid.probabilities.numpy(), recipe.evaluation.decision.threshold
        )
        record = {
            "epoch": epoch,
            "train": steps,
            "valid": {"loss": valid.loss, **metrics},
            "health": {name: asdict(layer) for name, layer in valid.layers.items()},
            "threshold": valid.threshold,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "seconds": time.monotonic() - begun,
            "synthetic": view.description.synthetic,
        }
        if scheduler is not None:
            scheduler.step(valid.loss)
        fitted.epochs = epoch
        metadata = {**_checkpoint_metadata(recipe, view), "epoch": epoch}
        if fitted.better(-valid.loss if training.best == "loss" else metrics[training.best]):
            write_tensors(run.best, model.state_dict(), metadata)
        write_tensors(run.last, model.state_dict(), metadata)
        run.append(record)
        reporter.epoch(record)
        if training.early_stopping is not None and epoch - fitted.best_epoch >= training.early_stopping:
            break
    return fitted


def _check_splits(view: DataView) -> None:
    for split in ("train", "valid"):
        if not view.description.splits.get(split):
            has = ", ".join(f"{name} ({size})" for name, size in view.description.splits.items())
            remedy = "; set data.valid={fraction: 0.2, seed: 0} to draw one from train" if split == "valid" else ""
            raise DataError(f"the data has no samples in its split {split!r}; it has: {has}{remedy}")


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


def _checkpoint_metadata(recipe: Recipe, view: DataView) -> dict[str, Any]:
    return {
        "model": recipe.model.name,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "labels": list(view.labels),
        "dims": {name: modality.dim for name, modality in view.modalities.items()},
        "data_checksum": view.description.checksum,
        "synthetic": view.description.synthetic,
    }


def make_optimizer(recipe: Recipe, model: ZooModel) -> torch.optim.Optimizer:
    """The recipe's optimiser, over all of the model's parameters."""
    chosen = recipe.training.optimizer
    kinds: Mapping[str, type[torch.optim.Optimizer]] = {
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "sgd": torch.optim.SGD,
    }
    return kinds[chosen.name](model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)  # type: ignore[call-arg]


def _scheduler(recipe: Recipe, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau | None:
    chosen = recipe.training.scheduler
    if chosen.name == "none":
        return None
    return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=chosen.factor, patience=chosen.patience)


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
