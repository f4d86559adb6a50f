"""All epochs of a training, and the state from which it resumes; files and console are the listeners' concern."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.model import Model, Trained, trained_modules
from neurozoo.core.processes import own_share
from neurozoo.data.view import DataView
from neurozoo.errors import CheckpointError, NeurozooError
from neurozoo.evaluation.predicting import predict_split
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import load_tensors
from neurozoo.training.augmentation import EventAugmenter
from neurozoo.training.engine import Engine
from neurozoo.training.listener import Checkpoint, Listener, Saved
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.penalties import penalties_of
from neurozoo.training.schedule import Schedule
from neurozoo.training.step import Stepper

__all__ = ["Position", "Trainer", "checkpoint_metadata"]


@dataclass
class Position:
    """Where a training is.

    Attributes:
        epoch: The epoch that is being trained, from 1.
        step: Number of its steps that are done.
        sums: Sums over those steps, 0-d, by name.
        best_epoch: The one whose weights were kept; 0 before the first.
        best: Its score, larger is better; None if the valid split did not define it.
        records: Number of lines in metrics.jsonl.
        order: State of the generator of the samples' order when the epoch began, uint8.
    """

    epoch: int = 1
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best: float | None = None
    records: int = 0
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))


class Trainer:
    """Trains a model to the end of its recipe, from the beginning or from a restored state.

    The model is on the engine's device, prepared or to be restored, and its task has seen the training targets. The
    listener gets every step, epoch and state.
    """

    def __init__(self, model: Model, view: DataView, recipe: Recipe, engine: Engine, listener: Listener) -> None:
        self._model, self._view, self._recipe, self._engine = model, view, recipe, engine
        self._listener, self._task = listener, model.problem.task
        self._optimizer = make_optimizer(recipe, model)
        training = recipe.training
        batches = math.ceil(len(view.split("train")) / training.batch_size)
        self._scheduler = Schedule(
            recipe,
            self._optimizer,
            math.ceil(batches / training.accumulate),
            self._task.better(training.scheduler.metric),
        )
        self._events = EventAugmenter(training.augment, view.events)
        self._stepper = Stepper(model, self._optimizer, recipe, engine, view.events)
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._position = Position(order=self._order.get_state())
        self._metadata = checkpoint_metadata(recipe, model, view)
        self._unsummed: set[str] = set()
        self._with_schedules = [
            module for _, module in trained_modules(model) if type(module).after_epoch is not Trained.after_epoch
        ]

    def restore(self, saved: Saved, where: str) -> None:
        """Continue from a state that a listener got; ``where`` is its file, for the errors.

        Raises:
            CheckpointError: It is damaged, or of another model; nothing is changed then.
        """
        tensors, metadata = saved.tensors, saved.metadata
        try:
            position = Position(**metadata["position"], sums=_under("sums", tensors), order=tensors["order"])
            optimizer, scheduler, scaling = metadata["optimizer"], metadata["scheduler"], metadata["scaling"]
            states = {int(index): dict(values) for index, values in optimizer["values"].items()}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: not the state of a training ({error}); start a new run") from error
        load_tensors(where, _under("model", tensors), self._model)
        for key, value in _under("optimizer", tensors).items():
            index, _, name = key.partition("/")
            states.setdefault(int(index), {})[name] = value
        self._optimizer.load_state_dict({"state": states, "param_groups": optimizer["param_groups"]})
        self._scheduler.load_state_dict(scheduler)
        self._order.set_state(position.order)
        self._engine.set_random_states(_under("random", tensors))
        self._engine.set_scaling(scaling)
        position.sums = {name: x.to(self._engine.device) for name, x in position.sums.items()}
        # States of earlier versions have no sums of penalties: a mean over the rest of the epoch would be another.
        self._unsummed = {name for name in penalties_of(self._recipe.training) if name not in position.sums}
        self._unsummed = self._unsummed if position.step else set()
        self._position = position

    def _state(self) -> Saved:
        """Return all that :meth:`restore` needs, as tensors and JSON; all processes have to call this together."""
        random, optimizer, position = self._engine.random_states(), self._optimizer.state_dict(), self._position
        tensors = {f"model/{name}": x for name, x in self._model.state_dict().items()}
        values: dict[str, dict[str, Any]] = {}
        for index, entries in optimizer["state"].items():
            for name, value in entries.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{name}"] = value
                else:
                    values.setdefault(str(index), {})[name] = value
        tensors |= {f"sums/{name}": x for name, x in position.sums.items()}
        tensors |= {"order": position.order} | {f"random/{name}": x for name, x in random.items()}
        rest = {
            **self._metadata,
            "position": {name: value for name, value in vars(position).items() if name not in ("sums", "order")},
            "optimizer": {"param_groups": optimizer["param_groups"], "values": values},
            "scheduler": self._scheduler.state_dict(),
            "scaling": self._engine.scaling(),
        }
        return Saved(tensors, rest)

    def run(self) -> Position:
        """Train to the end; returns its position, one epoch after the last."""
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
        self._check_weights()
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
            **self._rates_by_role(),
            "seconds": time.monotonic() - begun,
            "synthetic": self._view.description.synthetic,
        }
        record |= {"reports": valid.reports} if valid.reports else {}
        self._scheduler.after_epoch(metrics[training.scheduler.metric])
        with torch.no_grad():
            for module in self._with_schedules:
                module.after_epoch()
        best = self._better(self._task.score(metrics, training.best))
        metadata = {**self._metadata, "epoch": position.epoch}
        position.epoch, position.step, position.sums = position.epoch + 1, 0, {}
        self._unsummed = set()
        position.records += 1
        position.order = self._order.get_state()
        self._listener.epoch(record, Checkpoint(self._model.state_dict(), metadata, best, self._state()))

    def _check_weights(self) -> None:
        """Raise if a weight is not finite. The loss may be all the same: a membrane that is NaN never fires."""
        weights = dict(self._model.named_parameters())
        finite = torch.stack([each.detach().isfinite().all() for each in weights.values()]).tolist()
        if wrong := [name for name, known in zip(weights, finite, strict=True) if not known]:
            raise NeurozooError(
                f"after epoch {self._position.epoch} weights are NaN or infinite in {', '.join(wrong[:3])}"
                f"{' and others' if len(wrong) > 3 else ''}; lower training.optimizer.lr, set training.gradient_clip, "
                "or choose neurons that stay stable over as many steps"
            )

    def _rates_by_role(self) -> dict[str, dict[str, float]]:
        """Return the learning rates of the recipe's groups for the record; nothing without groups."""
        groups = [group for group in self._optimizer.param_groups if "role" in group]
        return {"learning_rates": {group["role"]: group["lr"] for group in groups}} if groups else {}

    def _steps(self) -> dict[str, float]:
        """One pass over the training split, or the rest of one; returns means over all its steps."""
        position, device = self._position, self._engine.device
        size, group = self._recipe.training.batch_size, self._recipe.training.accumulate
        every_step, due = self._recipe.training.checkpoint_steps, False
        summed = self._recipe.training.accumulated == "sum"
        samples = len(self._view.split("train"))
        steps = math.ceil(samples / size)
        # Reading a value from a GPU waits for the device, so it happens in every 20th step only.
        every = 1 if device.type == "cpu" else 20
        change = self._events.change(position.epoch)
        for batch in self._view.batches(
            "train", size, self._order, skip=position.step, share=_own_or_first, change=change
        ):
            if position.step % group == 0:
                self._stepper.clear()
            whole = min(size, samples - position.step * size)
            part = len(range(whole)[own_share(whole)]) / whole
            # The last step of an epoch may be of fewer batches.
            share = 1.0 if summed else 1 / min(group, steps - position.step // group * group)
            last = (position.step + 1) % group == 0 or position.step + 1 == steps
            values = self._stepper.add(batch.to(device), epoch=position.epoch, part=part, share=share, last=last)
            position.step += 1
            if last:
                self._stepper.step()
                self._scheduler.after_step()
            for name, value in values.items():
                if name in self._unsummed:
                    continue
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
                self._listener.saved(self._state())
                due = False
        # Sorted, as a restored state has the sums in another order.
        return {name: float(total) / steps for name, total in sorted(position.sums.items())}

    def _better(self, score: float) -> bool:
        """Return whether to keep the epoch's weights as the best; the first epoch's always are."""
        position, known = self._position, math.isfinite(score)
        if position.best_epoch and not (known and (position.best is None or score > position.best)):
            return False
        position.best_epoch, position.best = position.epoch, score if known else None
        return True


def _own_or_first(samples: int) -> slice:
    """Return this process's share of a batch; if it is empty, one sample to keep step with the others."""
    mine = own_share(samples)
    return mine if range(samples)[mine] else slice(1)


def checkpoint_metadata(recipe: Recipe, model: Model, view: DataView) -> dict[str, Any]:
    """Return the metadata of a checkpoint, without its epoch."""
    task = model.problem.task
    return {
        "model": recipe.model.name,
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "signals": {name: shape.to_dict() for name, shape in model.problem.signals.items()},
        "task": {"name": task.name, "outputs": list(task.outputs), "per_step": task.per_step, **task.state()},
        "data_checksum": view.description.checksum,
        "synthetic": view.description.synthetic,
    }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): x for name, x in tensors.items() if name.startswith(start)}
