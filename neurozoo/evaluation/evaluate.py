"""Measuring a trained model: metrics, health and lesion effects of each split."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from neurozoo.core.model import Model
from neurozoo.core.processes import own_share
from neurozoo.core.recording import frozen_statistics
from neurozoo.core.task import Decision
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.evaluation.health import LayerHealth, lesion_effects
from neurozoo.evaluation.predicting import Predictions, predict_split
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry
from neurozoo.runs.checkpoint import load_checkpoint, write_tensors
from neurozoo.runs.device import device_of_run
from neurozoo.runs.loading import TrainedModel, load

__all__ = ["Evaluation", "check_data", "data_of", "evaluate_model", "evaluate_run"]


@dataclass
class Evaluation:
    """What was measured, by split.

    Attributes:
        decision: See :meth:`neurozoo.core.task.Task.choose`.
        metrics: The task's metrics and its loss.
        health: By spiking layer.
        lesion: By kind (``permuted``, ``silent``), then by split.
        threshold: The firing threshold on valid.
        predictions: The model's predictions.
        ids: The samples' names.
        data: Name and checksum of the store that was measured on.
    """

    decision: Decision
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    health: dict[str, dict[str, LayerHealth]] = field(default_factory=dict)
    lesion: dict[str, dict[str, float]] = field(default_factory=dict)
    threshold: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)
    ids: dict[str, tuple[str, ...]] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it in the form of summary.json."""
        return {
            "metrics": self.metrics,
            "decision": self.decision,
            "health": {
                split: {name: asdict(layer) for name, layer in layers.items()} for split, layers in self.health.items()
            },
            "threshold": self.threshold,
            "lesion": self.lesion,
        }

    def write_predictions(self, run: Path) -> None:
        """Write ``predictions/SPLIT.safetensors`` in a run folder: each row's ``predicted``, ``target`` and sample, the
        samples' ids, and the data."""
        for split, made in self.predictions.items():
            tensors = {
                "predicted": torch.from_numpy(made.predicted),
                "target": torch.from_numpy(made.target),
                "samples": torch.from_numpy(made.samples),
            }
            path = run / "predictions" / f"{split}.safetensors"
            write_tensors(path, tensors, {"split": split, "ids": self.ids[split], "data": self.data}, inside=run)


def evaluate_model(
    checkpoint: Path,
    model: Model,
    view: DataView,
    recipe: Recipe,
    *,
    device: torch.device,
    splits: tuple[str, ...] = ("valid", "test"),
    decided: Decision = None,
    inside: Path | None = None,
) -> Evaluation:
    """Load the weights of a checkpoint, which may lie ``inside`` a stranger's folder, and measure them.

    The decision is ``decided`` if given, else chosen on ``valid`` alone, else the recipe's. Each split starts from the
    statistics of the checkpoint, so that a measurement can be repeated.

    Raises:
        CheckpointError: The checkpoint is damaged or of another model.
    """
    load_checkpoint(checkpoint, model, inside=inside)
    model.to(device).eval()
    task, size = model.problem.task, recipe.evaluation.batch_size
    result = Evaluation(task.default_decision if decided is None else decided)
    result.data = {"name": view.description.name, "checksum": view.description.checksum}
    for split in dict.fromkeys(("valid", *splits)):
        if not view.description.splits.get(split):
            continue
        with frozen_statistics(model):
            made = predict_split(model, view.batches(split, size, share=own_share), device=device)
        if split == "valid":
            if decided is None:
                result.decision = task.choose(made.target, made.predicted)
            result.threshold = made.threshold
        if split not in splits:
            continue
        measured = task.measure(made.target, made.predicted, result.decision)
        result.metrics[split] = {"loss": made.loss, **measured}
        result.health[split] = made.layers
        for kind, effect in lesion_effects(model, view.split(split), size, device).items():
            result.lesion.setdefault(kind, {})[split] = effect
        result.predictions[split], result.ids[split] = made, view.split(split).ids
    return result


def evaluate_run(
    run: str | Path,
    *,
    split: str = "test",
    backend: str | None = None,
    data_root: str | Path | None = None,
    shuffle_steps: int | None = None,
) -> dict[str, Any]:
    """Measure a trained model again, on any backend, and note it in the run's ``evaluations.jsonl``.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        split: Which samples; ``test`` or ``valid`` (``train`` too).
        backend: Another backend than the run's own.
        data_root: The store, if it is not the recipe's.
        shuffle_steps: Seed by which the valid positions of each sample are put in another order; None leaves them.

    Raises:
        UserError: The run, its data or its checkpoint cannot be used.
    """
    loaded = load(run, backend=backend)
    recipe, source = loaded.recipe, loaded.source
    view = data_of(loaded, data_root)
    view.check_samples(split)
    if shuffle_steps is not None:
        view = view.shuffled(shuffle_steps)
    if source.run is not None:
        source.run.check_writable()  # before the split is measured, since that has to be noted
    trained_on = source.data.get("checksum")
    device = device_of_run(recipe.training.device)
    measured = evaluate_model(
        source.checkpoint,
        loaded.module,
        view,
        recipe,
        device=device,
        splits=(split,),
        decided=source.decision,
        inside=source.folder,
    )
    setting = {
        "split": split,
        "backend": recipe.backend,
        "data": view.description.name,
        "synthetic": view.description.synthetic,
        **({} if shuffle_steps is None else {"shuffle_steps": shuffle_steps}),
        "same_data_as_trained": view.description.checksum == trained_on and not view.changed(split),
    }
    if source.run is not None:  # a packed folder stays as it was packed
        source.run.note_evaluation({**setting, "metrics": measured.metrics[split]})
    definitions = loaded.module.problem.task.definitions
    return {"run": str(run), **setting, **measured.to_dict(), "metric_definitions": definitions}


def data_of(
    trained: TrainedModel, data_root: str | Path | None = None, *, registry: Registry | None = None
) -> DataView:
    """Open the data of a trained model, by default the recipe's store, without the splits that are closed to it.

    Raises:
        DataError: The data cannot be opened, or does not fit the model.
    """
    view = trained.source.open_data(data_root, registry=registry)
    check_data(view, trained)
    view.check_by(trained.task)
    return view


def check_data(view: DataView, trained: TrainedModel) -> None:
    """Check that data fits the model.

    Raises:
        DataError: It has other signals or another task.
    """
    problem = trained.module.problem
    for name, shape in problem.signals.items():
        found = view.signals[name].shape
        if found != shape.shape:
            raise DataError(
                f"the data's {name} has positions of {list(found)} and the model takes {list(shape.shape)}; give data "
                "of the same form"
            )
    task, found_task = problem.task, view.description.task
    if (found_task.name, found_task.per_step) != (task.name, task.per_step):
        raise DataError(f"the data's task is {found_task.name} and the model's is {task.name}; give data of that task")
    if tuple(found_task.outputs) != task.outputs:
        raise DataError(
            f"the data's outputs are {', '.join(found_task.outputs)} and the model's {', '.join(task.outputs)}; "
            "give data with the same ones in the same order"
        )
