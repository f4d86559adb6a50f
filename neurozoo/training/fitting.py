"""All epochs of a training, each with its line of metrics.jsonl and its checkpoints."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch

from neurozoo.core.interfaces import ZooModel
from neurozoo.core.processes import own_share
from neurozoo.data.view import DataView
from neurozoo.errors import CheckpointError
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import write_tensors
from neurozoo.runs.run import Run
from neurozoo.training.engine import Engine
from neurozoo.training.loop import predict_split, train_epoch
from neurozoo.training.metrics import multilabel_metrics
from neurozoo.training.objective import Objective
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.reporter import Reporter
from neurozoo.training.state import Position, TrainingState
from neurozoo.training.step import Stepper

__all__ = ["Fitting", "checkpoint_metadata"]


class Fitting:
    """Trains a model to the end of its recipe, from the beginning or from where it was.

    Args:
        model: On its device, prepared or to be restored.
        view: The data.
        recipe: How to train.
        run: Where checkpoints and metrics go.
        engine: Where to train.
    """

    def __init__(self, model: ZooModel, view: DataView, recipe: Recipe, run: Run, engine: Engine) -> None:
        self._model, self._view, self._recipe, self._run, self._engine = model, view, recipe, run, engine
        self._optimizer = make_optimizer(recipe, model)
        self._scheduler = _Schedule(recipe, self._optimizer)
        objective = Objective(recipe.training, view.split("train").labels, engine.device)
        self._stepper = Stepper(model, self._optimizer, recipe, objective, engine)
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._state = TrainingState(model, self._optimizer, self._scheduler, self._order, engine)
        self._position = Position(order=self._order.get_state())
        self._metadata = checkpoint_metadata(recipe, view)

    def restore(self) -> None:
        """Go back to the run's last state: all that training changes, and its metrics.jsonl.

        Raises:
            CheckpointError: The state is damaged, or of another recipe.
        """
        position, metadata = self._state.read(self._run.state)
        if metadata.get("recipe_digest") != self._recipe.digest:
            raise CheckpointError(
                f"{self._run.state}: is of another recipe than {self._run.recipe_path}; put the old one back, "
                "or begin a new run"
            )
        self._position = position
        if self._engine.first:
            self._run.keep_records(position.records)

    def run(self, reporter: Reporter) -> Position:
        """Train to the end; returns where that is: one epoch behind the last."""
        training = self._recipe.training
        with closing(self._stepper):
            while self._position.epoch <= training.epochs and not self._stopped():
                self._epoch(reporter)
        return self._position

    def _stopped(self) -> bool:
        patience, position = self._recipe.training.early_stopping, self._position
        return patience is not None and position.epoch - 1 - position.best_epoch >= patience and position.epoch > 1

    def _epoch(self, reporter: Reporter) -> None:
        begun, position, training = time.monotonic(), self._position, self._recipe.training
        self._model.train()
        steps = train_epoch(
            self._stepper,
            self._view,
            self._recipe,
            position,
            device=self._engine.device,
            generator=self._order,
            reporter=reporter,
            save=self._save,
        )
        batches = self._view.batches("valid", self._recipe.evaluation.batch_size, share=own_share)
        valid = predict_split(self._model, batches, device=self._engine.device, smoothing=training.label_smoothing)
        metrics = multilabel_metrics(
            valid.labels.numpy(), valid.probabilities.numpy(), self._recipe.evaluation.decision.threshold
        )
        record = {
            "epoch": position.epoch,
            "train": steps,
            "valid": {"loss": valid.loss, **metrics},
            "health": {name: asdict(layer) for name, layer in valid.layers.items()},
            "threshold": valid.threshold,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "seconds": time.monotonic() - begun,
            "synthetic": self._view.description.synthetic,
        }
        self._scheduler.step(valid.loss)
        metadata = {**self._metadata, "epoch": position.epoch}
        better = self._better(-valid.loss if training.best == "loss" else metrics[training.best])
        if self._engine.first:
            if better:
                write_tensors(self._run.best, self._model.state_dict(), metadata)
            write_tensors(self._run.last, self._model.state_dict(), metadata)
            self._run.append(record)
        # Last of all: whatever was written before is written again, and the same, by who goes on from here.
        position.epoch, position.step, position.sums = position.epoch + 1, 0, {}
        position.records += 1
        position.order = self._order.get_state()
        self._save()
        reporter.epoch(record)

    def _better(self, score: float) -> bool:
        """Whether an epoch's weights are to be kept; the first one's always are."""
        position, known = self._position, math.isfinite(score)
        if position.best_epoch and not (known and (position.best is None or score > position.best)):
            return False
        position.best_epoch, position.best = position.epoch, score if known else None
        return True

    def _save(self) -> None:
        self._state.write(self._run.state, self._position, self._metadata)


def checkpoint_metadata(recipe: Recipe, view: DataView) -> dict[str, Any]:
    """What a checkpoint says of itself besides its epoch."""
    return {
        "model": recipe.model.name,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "labels": list(view.labels),
        "dims": view.dims,
        "data_checksum": view.description.checksum,
        "synthetic": view.description.synthetic,
    }


class _Schedule:
    """What the learning rate does after each epoch."""

    def __init__(self, recipe: Recipe, optimizer: torch.optim.Optimizer) -> None:
        chosen, self._epochs = recipe.training.scheduler, recipe.training.epochs
        self._chosen = chosen
        self._plateau = chosen.name == "plateau"
        self._scheduler: Any = (
            torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=chosen.factor, patience=chosen.patience)
            if self._plateau
            else torch.optim.lr_scheduler.LambdaLR(optimizer, self._height)
        )

    def _height(self, epoch: int) -> float:
        """Of the learning rate in an epoch, from 0, as a fraction of the recipe's."""
        warmup = self._chosen.warmup
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        if self._chosen.name == "step":
            return self._chosen.factor ** ((epoch - warmup) // self._chosen.every)
        if self._chosen.name == "cosine":
            return (1 + math.cos(math.pi * (epoch - warmup) / max(self._epochs - warmup, 1))) / 2
        return 1.0

    def step(self, valid_loss: float) -> None:
        """An epoch is done."""
        if self._plateau:
            self._scheduler.step(valid_loss)
        else:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return dict(self._scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state)
