"""The inner loops: one epoch of steps, one pass of predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.core.processes import at_their_places, own_share, processes
from neurozoo.data.view import DataView
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.health import HealthMonitor, LayerHealth
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.objective import classification_loss
from neurozoo.training.reporter import Reporter
from neurozoo.training.state import Position
from neurozoo.training.step import Stepper

__all__ = ["Predictions", "predict_split", "train_epoch"]


@dataclass(frozen=True)
class Predictions:
    """What a model says of a split, in the split's order.

    Attributes:
        probabilities: ``[N, K]`` on the CPU.
        labels: ``[N, K]`` of 0 and 1, on the CPU.
        loss: Mean loss, in nats.
        layers: Health of each spiking layer.
        threshold: The firing threshold's mean, smallest, largest, and what the policy reports.
    """

    probabilities: Tensor
    labels: Tensor
    loss: float
    layers: dict[str, LayerHealth]
    threshold: dict[str, float]


def train_epoch(
    stepper: Stepper,
    view: DataView,
    recipe: Recipe,
    position: Position,
    *,
    device: torch.device,
    generator: torch.Generator,
    reporter: Reporter,
    save: Callable[[], None],
) -> dict[str, float]:
    """One pass over the training split, or the rest of one; returns means over all its steps.

    Args:
        stepper: Takes the steps.
        view: The data.
        recipe: How.
        position: Where it begins, in the middle of an epoch or not; kept up to date.
        device: Where.
        generator: Of the order, in the state it had when the epoch began.
        reporter: Hears of each step.
        save: Called after every ``training.checkpoint_steps`` batches, the last one of the epoch excepted; where
            gradients are accumulated, after the step of the optimiser that comes next.

    Raises:
        NeurozooError: The loss is NaN or infinite.
    """
    size, group = recipe.training.batch_size, recipe.training.accumulate
    every_step, due = recipe.training.checkpoint_steps, False
    samples = len(view.split("train"))
    steps = math.ceil(samples / size)
    # On a GPU reading a value waits for the device, so it is told of now and then.
    every = 1 if device.type == "cpu" else 20
    for batch in view.batches("train", size, generator, skip=position.step, share=_own_or_first):
        if position.step % group == 0:
            stepper.clear()
        whole = min(size, samples - position.step * size)
        part = len(range(whole)[own_share(whole)]) / whole
        # The last step of an epoch may be of fewer batches.
        share = 1 / min(group, steps - position.step // group * group)
        last = (position.step + 1) % group == 0 or position.step + 1 == steps
        values = stepper.add(batch.to(device), part=part, share=share, last=last)
        position.step += 1
        if last:
            stepper.step()
        for name, value in values.items():
            position.sums[name] = position.sums.get(name, torch.zeros_like(value)) + value
        if position.step % every == 0 or position.step == steps:
            told = {name: float(value) for name, value in values.items()}
            if not math.isfinite(told["loss"]):
                raise NeurozooError(
                    f"the loss is {told['loss']} in epoch {position.epoch}, step {position.step} of {steps}; lower "
                    "training.optimizer.lr, set training.gradient_clip, or look for non-finite features with "
                    "`neurozoo data info`"
                )
            reporter.step(position.epoch, position.step, steps, told)
        due = due or (every_step is not None and position.step % every_step == 0)
        if due and last and position.step < steps:
            save()
            due = False
    # In one order, whichever the sums came back in.
    return {name: float(total) / steps for name, total in sorted(position.sums.items())}


def _own_or_first(samples: int) -> slice:
    """This process's share of a batch; where it has none, a sample to keep step with."""
    mine = own_share(samples)
    return mine if range(samples)[mine] else slice(1)


@torch.no_grad()
def predict_split(model: ZooModel, batches: Iterable[Batch], *, device: torch.device, smoothing: float) -> Predictions:
    """Predict batches in order, in evaluation mode.

    Where several processes train together, the batches are this process's parts of a split, and what comes out is
    the whole split's, each sample once.
    """
    model.eval()
    logits, labels, places = [], [], []
    with HealthMonitor(model) as monitor:
        for batch in batches:
            if not len(batch):
                continue
            here = batch.to(device)
            logits.append(model(here))
            monitor.count(here)
            if here.labels is None:
                raise NeurozooError("a batch without labels cannot be evaluated")
            labels.append(here.labels)
            places.append(here.index)
    all_logits, all_labels = torch.cat(logits), torch.cat(labels)
    if processes() > 1:
        where = torch.cat([place for place in places if place is not None]).to(device)
        all_logits, all_labels = at_their_places(all_logits, where), at_their_places(all_labels, where)
    loss = float(classification_loss(all_logits, all_labels, smoothing))
    return Predictions(torch.sigmoid(all_logits).cpu(), all_labels.cpu(), loss, monitor.layers(), monitor.threshold())
