"""One pass of a model over a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.model import Model
from neurozoo.core.processes import processes, rows_of_all
from neurozoo.core.signals import Batch
from neurozoo.errors import NeurozooError
from neurozoo.evaluation.health import HealthMonitor, LayerHealth

__all__ = ["Predictions", "predict_split"]


@dataclass(frozen=True)
class Predictions:
    """Predictions for a split: of each sample, or of each step that counts, sample after sample.

    Attributes:
        predicted: ``[n, K]``: probabilities, or values in the target's unit.
        target: ``[n, ...]``, as the task says.
        samples: ``[n]`` int64, place of each row's sample in the split.
        loss: Mean of the task's plain loss over rows.
        layers: Health of each spiking layer.
        threshold: The firing threshold's mean, smallest, largest, and what the model's modules report.
        reports: What they report if there is no such threshold, by module and name.
    """

    predicted: NDArray[Any]
    target: NDArray[Any]
    samples: NDArray[Any]
    loss: float
    layers: dict[str, LayerHealth]
    threshold: dict[str, float]
    reports: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def predict_split(model: Model, batches: Iterable[Batch], *, device: torch.device) -> Predictions:
    """Predict batches in order, in evaluation mode.

    With several processes, the batches are this process's parts of a split, and the result is the whole split's.
    """
    model.eval()
    task = model.problem.task
    outputs: list[Tensor] = []
    targets: list[Tensor] = []
    samples: list[Tensor] = []
    place = 0
    with HealthMonitor(model) as monitor:
        for batch in batches:
            if not len(batch):
                continue
            here = batch.to(device)
            if here.target is None:
                raise NeurozooError("a batch without targets cannot be evaluated")
            made = model(here)
            monitor.count()
            index = (torch.arange(place, place + len(here)) if here.index is None else here.index).to(device)
            place += len(here)
            rows, target = task.counted(made, here.target, here.target_valid)
            outputs.append(rows)
            targets.append(target)
            if task.per_step:
                index = index[:, None].expand(made.shape[:2])
                index = index.flatten() if here.target_valid is None else index[here.target_valid]
            samples.append(index)
    every, target, sample = torch.cat(outputs), torch.cat(targets), torch.cat(samples)
    if processes() > 1:
        # Rows of a sample stay in order: sorting by sample is stable.
        everyone, target, sample = (rows_of_all(x) for x in (every, target, sample))
        order = sample.argsort(stable=True)
        every, target, sample = everyone[order], target[order], sample[order]
    loss = float(task.reported_loss(every, target))
    predicted = task.predict(every).cpu().numpy()
    return Predictions(
        predicted,
        target.cpu().numpy(),
        sample.cpu().numpy(),
        loss,
        monitor.layers(),
        monitor.threshold(),
        monitor.reports(),
    )
