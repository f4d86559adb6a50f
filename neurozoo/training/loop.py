"""The inner loops: one epoch of steps, one pass of predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neurozoo.data.view import DataView
from neurozoo.errors import NeurozooError
from neurozoo.interfaces import Batch, ZooModel
from neurozoo.nn.neurons import record_spikes
from neurozoo.recipe import Recipe
from neurozoo.training.health import HealthMonitor, LayerHealth, neuron_rates, record_thresholds
from neurozoo.training.objective import Objective, classification_loss, rate_penalty
from neurozoo.training.reporter import Reporter
from neurozoo.training.state import Position

__all__ = ["Predictions", "add_gradients", "predict_split", "step", "train_epoch", "train_step"]


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


def train_step(
    model: ZooModel, batch: Batch, optimizer: torch.optim.Optimizer, recipe: Recipe, objective: Objective | None = None
) -> dict[str, Tensor]:
    """One optimiser step; returns loss, mean firing rate and threshold, 0-d, still on the device.

    Args:
        model: Changed in place.
        batch: With labels.
        optimizer: Steps.
        recipe: How.
        objective: The labels' loss; by default the recipe's, unweighted.
    """
    optimizer.zero_grad(set_to_none=True)
    values = add_gradients(model, batch, recipe, objective or Objective(recipe.training))
    step(model, optimizer, recipe)
    return values


def add_gradients(
    model: ZooModel, batch: Batch, recipe: Recipe, objective: Objective, *, share: float = 1.0
) -> dict[str, Tensor]:
    """Add a batch's gradients, times ``share``; returns as :func:`train_step`."""
    if batch.labels is None:
        raise NeurozooError("a batch without labels cannot be trained on")
    penalty = recipe.training.rate_penalty
    with record_spikes(model) as spikes, record_thresholds(model) as thresholds:
        logits = model(batch)
    masks = model.layer_masks(batch)
    classification = objective(logits, batch.labels)
    loss = classification
    if penalty.weight:
        loss = loss + penalty.weight * rate_penalty(spikes, masks, penalty.low, penalty.high)
    (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
    values = {"loss": classification.detach()}
    if spikes:
        rates = [neuron_rates(train.detach(), masks[name]).mean() for name, train in spikes.items()]
        values["rate"] = torch.stack(rates).mean()
    if thresholds:
        values["threshold"] = thresholds[0].mean()
    return values


def step(model: ZooModel, optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
    """Clip the gradients as the recipe says, and step."""
    if recipe.training.gradient_clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.training.gradient_clip)
    optimizer.step()


def train_epoch(
    model: ZooModel,
    view: DataView,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    objective: Objective,
    position: Position,
    *,
    device: torch.device,
    generator: torch.Generator,
    reporter: Reporter,
    save: Callable[[], None],
) -> dict[str, float]:
    """All training samples once, in a new order; returns the means of what each step gave.

    Args:
        model: Changed in place.
        view: The data.
        optimizer: Steps.
        recipe: How.
        objective: The labels' loss.
        position: Where it begins, in the middle of an epoch or not; kept up to date.
        device: Where.
        generator: Of the order, in the state it had when the epoch began.
        reporter: Hears of each step.
        save: Called after every ``training.checkpoint_steps`` batches, the last one of the epoch excepted; where
            gradients are accumulated, after the step of the optimiser that comes next.

    Raises:
        NeurozooError: The loss is NaN or infinite.
    """
    model.train()
    size, group = recipe.training.batch_size, recipe.training.accumulate
    every_step, due = recipe.training.checkpoint_steps, False
    steps = math.ceil(len(view.split("train")) / size)
    # On a GPU reading a value waits for the device, so it is told of now and then.
    every = 1 if device.type == "cpu" else 20
    for batch in view.batches("train", size, generator, skip=position.step):
        if position.step % group == 0:
            optimizer.zero_grad(set_to_none=True)
        # The last step of an epoch may be of fewer batches.
        share = 1 / min(group, steps - position.step // group * group)
        values = add_gradients(model, batch.to(device), recipe, objective, share=share)
        position.step += 1
        whole = position.step % group == 0 or position.step == steps
        if whole:
            step(model, optimizer, recipe)
        for name, value in values.items():
            position.sums[name] = position.sums.get(name, torch.zeros_like(value)) + value
        if position.step % every == 0 or position.step == steps:
            told = {name: float(value) for name, value in values.items()}
            if not math.isfinite(told["loss"]):
                raise NeurozooError(
                    f"the loss is {told['loss']} in epoch {position.epoch}, step {position.step}; lower "
                    "training.optimizer.lr, set training.gradient_clip, or look at the features with "
                    "`neurozoo data info`"
                )
            reporter.step(position.epoch, position.step, steps, told)
        due = due or (every_step is not None and position.step % every_step == 0)
        if due and whole and position.step < steps:
            save()
            due = False
    return {name: float(total) / steps for name, total in position.sums.items()}


@torch.no_grad()
def predict_split(model: ZooModel, batches: Iterable[Batch], *, device: torch.device, smoothing: float) -> Predictions:
    """Predict batches in order, in evaluation mode."""
    model.eval()
    logits, labels = [], []
    with HealthMonitor(model) as monitor:
        for batch in batches:
            here = batch.to(device)
            logits.append(model(here))
            monitor.count(here)
            if here.labels is None:
                raise NeurozooError("a batch without labels cannot be evaluated")
            labels.append(here.labels)
    all_logits, all_labels = torch.cat(logits), torch.cat(labels)
    loss = float(classification_loss(all_logits, all_labels, smoothing))
    return Predictions(torch.sigmoid(all_logits).cpu(), all_labels.cpu(), loss, monitor.layers(), monitor.threshold())
