"""All epochs of a training; it knows no folder and no console, see ``neurozoo.training.listener``."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict
from typing import Any

import torch

from neurozoo.core.model import Model, Trained, trained_modules
from neurozoo.core.processes import own_share
from neurozoo.data.view import DataView
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.predicting import predict_split
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.engine import Engine
from neurozoo.training.listener import Checkpoint, Listener, Saved
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.state import Position, TrainingState
from neurozoo.training.step import Stepper

__all__ = ["Trainer", "checkpoint_metadata"]


class Trainer:
    """Trains a model to the end of its recipe, from the beginning or from where it was.

    Args:
        model: On its device, prepared or to be restored; its task has seen the training targets.
        view: The data.
        recipe: How to train.
        engine: Where to train.
        listener: Gets every step, epoch and state.
    """

    def __init__(self, model: Model, view: DataView, recipe: Recipe, engine: Engine, listener: Listener) -> None:
        self._model, self._view, self._recipe, self._engine = model, view, recipe, engine
        self._listener, self._task = listener, model.problem.task
        self._optimizer = make_optimizer(recipe, model)
        self._scheduler = _Schedule(recipe, self._optimizer)
        self._stepper = Stepper(model, self._optimizer, recipe, engine)
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._state = TrainingState(model, self._optimizer, self._scheduler, self._order, engine)
        self._position = Position(order=self._order.get_state())
        self._metadata = checkpoint_metadata(recipe, model, view)
        self._with_schedules = [
            module for _, module in trained_modules(model) if type(module).after_epoch is not Trained.after_epoch
        ]

    def restore(self, saved: Saved, where: str) -> None:
        """Go back to a state: all that training changes.

        Args:
            saved: What a listener got.
            where: Its file, for the errors.

        Raises:
            CheckpointError: It is damaged, or of another model.
        """
        self._position = self._state.restore(saved, where)

    def run(self) -> Position:
        """Train to the end; returns where that is: one epoch behind the last."""
        training = self._recipe.training
        with closing(self._stepper):
            while self._position.epoch <= training.epochs and not self._stopped():
                self._epoch()
        return self._position

    def _stopped(self) -> bool:
        patience, position = self._recipe.training.early_stopping, self._position
        return patience is not None and position.epoch - 1 - position.best_epoch >= patience and position.epoch > 1

    def _epoch(self) -> None:
        begun, position, training = time.monotonic(), self._position, self._recipe.training
        self._model.train()
        train = self._steps()
        batches = self._view.batches("valid", self._recipe.evaluation.batch_size, share=own_share)
        valid = predict_split(self._model, batches, device=self._engine.device)
        metrics = {"loss": valid.loss, **self._task.measure(valid.target, valid.predicted, self._task.default_decision)}
        record = {
            "epoch": position.epoch,
            "train": train,
            "valid": metrics,
            "health": {name: asdict(layer) for name, layer in valid.layers.items()},
            "threshold": valid.threshold,
            "learning_rate": self._optimizer.param_groups[0]["lr"],
            "seconds": time.monotonic() - begun,
            "synthetic": self._view.description.synthetic,
        }
        self._scheduler.step(valid.loss)
        with torch.no_grad():
            for module in self._with_schedules:
                module.after_epoch()
        best = self._better(self._task.score(metrics, training.best))
        metadata = {**self._metadata, "epoch": position.epoch}
        position.epoch, position.step, position.sums = position.epoch + 1, 0, {}
        position.records += 1
        position.order = self._order.get_state()
        saved = self._state.collect(position, self._metadata)
        self._listener.epoch(record, Checkpoint(self._model.state_dict(), metadata, best, saved))

    def _steps(self) -> dict[str, float]:
        """One pass over the training split, or the rest of one; returns means over all its steps.

        Raises:
            NeurozooError: The loss is NaN or infinite.
        """
        position, device = self._position, self._engine.device
        size, group = self._recipe.training.batch_size, self._recipe.training.accumulate
        every_step, due = self._recipe.training.checkpoint_steps, False
        samples = len(self._view.split("train"))
        steps = math.ceil(samples / size)
        # On a GPU reading a value waits for the device, so it happens now and then.
        every = 1 if device.type == "cpu" else 20
        for batch in self._view.batches("train", size, self._order, skip=position.step, share=_own_or_first):
            if position.step % group == 0:
                self._stepper.clear()
            whole = min(size, samples - position.step * size)
            part = len(range(whole)[own_share(whole)]) / whole
            # The last step of an epoch may be of fewer batches.
            share = 1 / min(group, steps - position.step // group * group)
            last = (position.step + 1) % group == 0 or position.step + 1 == steps
            values = self._stepper.add(batch.to(device), part=part, share=share, last=last)
            position.step += 1
            if last:
                self._stepper.step()
            for name, value in values.items():
                position.sums[name] = position.sums.get(name, torch.zeros_like(value)) + value
            if position.step % every == 0 or position.step == steps:
                known = {name: float(value) for name, value in values.items()}
                if not math.isfinite(known["loss"]):
                    raise NeurozooError(
                        f"the loss is {known['loss']} in epoch {position.epoch}, step {position.step} of {steps}; "
                        "lower training.optimizer.lr, set training.gradient_clip, or look for non-finite features with "
                        "`neurozoo data info`"
                    )
                self._listener.step(position.epoch, position.step, steps, known)
            due = due or (every_step is not None and position.step % every_step == 0)
            if due and last and position.step < steps:
                self._listener.saved(self._state.collect(position, self._metadata))
                due = False
        # In one order, whichever the sums came back in.
        return {name: float(total) / steps for name, total in sorted(position.sums.items())}

    def _better(self, score: float) -> bool:
        """Whether an epoch's weights are to be kept; the first one's always are."""
        position, known = self._position, math.isfinite(score)
        if position.best_epoch and not (known and (position.best is None or score > position.best)):
            return False
        position.best_epoch, position.best = position.epoch, score if known else None
        return True


def _own_or_first(samples: int) -> slice:
    """This process's share of a batch; where it has none, a sample to keep step with."""
    mine = own_share(samples)
    return mine if range(samples)[mine] else slice(1)


def checkpoint_metadata(recipe: Recipe, model: Model, view: DataView) -> dict[str, Any]:
    """What a checkpoint says of itself besides its epoch."""
    task = model.problem.task
    return {
        "model": recipe.model.name,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "signals": {name: asdict(shape) for name, shape in model.problem.signals.items()},
        "task": {"name": task.name, "outputs": list(task.outputs), "per_step": task.per_step, **task.state()},
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
        """The learning rate in an epoch, from 0, as a fraction of the recipe's."""
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
