"""A trained model's operations on a split of its data, beside those of its control."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.core.layer import spiking_layers
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.evaluation.evaluate import check_data
from neurozoo.evaluation.health import frozen_statistics
from neurozoo.models.build import open_data
from neurozoo.operations.control import relu_control
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts, OperationsProfile
from neurozoo.operations.samples import by_length, chosen, needs_its_batch, padding_takes_part
from neurozoo.runs.device import choose_device
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.trained_folder import Trained

__all__ = ["FILE", "Told", "keep", "kept_profile", "profile_run"]

FILE = "operations.json"
"""Where a run keeps its profile."""

Told = Callable[[str, int, int], None]
"""Hears of the progress: what is done, how much of it, of how much."""


def profile_run(
    run: str | Path,
    *,
    split: str = "valid",
    backend: str | None = None,
    samples: int | None = None,
    control: str | Path | None = None,
    data_root: str | None = None,
    told: Told = lambda what, done, of: None,
) -> OperationsProfile:
    """Count what a trained model computes, by layer.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        split: Whose samples.
        backend: Another backend than the run's own.
        samples: How many, evenly spread over the split; by default all.
        control: A trained model to stand beside it, such as the run of its recipe with ``model.parts.activation=relu``;
            by default the same weights with a ReLU for each spiking neuron.
        data_root: A store, where it is not where the recipe says.
        told: Hears of the progress.

    Raises:
        UserError: The run, its control, its data or its checkpoint cannot be used, or the split is empty or closed.
    """
    if samples is not None and samples < 1:
        raise UserError(f"{samples} samples are asked for; give a number from 1 on, or none for all")
    trained = load(run, backend=backend)
    view = _data(trained, data_root)
    view.check_open(split)
    if not view.description.splits.get(split):
        has = ", ".join(name for name, size in view.description.splits.items() if size)
        raise DataError(f"the data has no samples in the split {split!r}; it has: {has}")
    try:
        device = choose_device(trained.recipe.training.device)
    except UserError:
        device = choose_device("auto")  # trained on another machine
    model = trained.module.to(device).eval()
    other, about = relu_control(model, trained.recipe) if control is None else _trained_control(control, trained)
    if other is not None:
        other = other.to(device)
    places = chosen(len(view.split(split)), samples)
    first = view.split(split).batch(places[:1]).to(device)
    padding, alone = padding_takes_part(model, first), not needs_its_batch(model)
    counted = padding or not alone
    size = trained.recipe.evaluation.batch_size
    batches = (
        (view.split(split).batch(some) for some in torch.split(places, size))
        if counted
        else by_length(view.split(split), places, size)
    )
    network, beside = _count([model] if other is None else [model, other], batches, device, len(places), told)
    return OperationsProfile(
        recipe=trained.recipe.name,
        model=trained.recipe.model.name,
        backend=trained.recipe.backend,
        split=split,
        of=len(view.split(split)),
        data=str(view.description.origin.get("source", "a store")),
        checksum=view.description.checksum,
        same_data=view.description.checksum == trained.source.data.get("checksum"),
        synthetic=view.description.synthetic,
        weights=_digest(trained.source.checkpoint),
        padding=counted,
        alone=alone,
        network=network,
        control=beside,
        about_control=about,
    )


def kept_profile(source: Trained) -> OperationsProfile | None:
    """What was counted of a trained model before; None where nothing was, or its weights have changed since.

    Raises:
        RunError: It is damaged, or no profile of operations.
    """
    if source.packed is not None:
        content = source.packed.summary.get("operations")
        where = f"{source.folder}, its operations"
    else:
        path = source.folder / FILE
        where = str(path)
        try:
            content = json.loads(path.read_text("utf-8")) if path.is_file() else None
        except (OSError, ValueError) as error:
            raise RunError(
                f"{path}: cannot be read: {error}; remove it, and count anew with `neurozoo profile`"
            ) from error
    if content is None:
        return None
    found = OperationsProfile.from_dict(content, where)
    return found if source.checkpoint.is_file() and found.weights == _digest(source.checkpoint) else None


def keep(source: Trained, profile: OperationsProfile) -> None:
    """Keep a profile in a run's folder, for reports, comparisons and model cards.

    Raises:
        RunError: It cannot be written, or the model is packed, and stays as it was packed.
    """
    if source.run is None:
        raise RunError(f"{source.folder}: is packed, and nothing is added to it")
    source.run.write_json(FILE, profile.to_dict())


def _data(trained: TrainedModel, data_root: str | None) -> DataView:
    recipe = trained.recipe
    if data_root is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": data_root})})
    view = open_data(recipe, closed=trained.source.closed)
    check_data(view, trained)
    return view


def _trained_control(control: str | Path, trained: TrainedModel) -> tuple[ZooModel, str]:
    """Another trained model as the control.

    Raises:
        UserError: It spikes, or takes other inputs.
    """
    other = load(control)
    if spiking := list(spiking_layers(other.module)):
        raise UserError(
            f"{control}: has spiking neurons ({spiking[0]}), so it is no control; give a run that was trained with "
            "model.parts.activation=relu"
        )
    if other.module.inputs != trained.module.inputs or other.labels != trained.labels:
        raise UserError(f"{control}: takes other inputs or labels than {trained.source.folder}; give a run on the same")
    return other.module, f"{other.recipe.name} as {Path(control).name} was trained, without spikes"


def _count(
    models: Sequence[ZooModel], batches: Iterable[Batch], device: torch.device, samples: int, told: Told
) -> tuple[Counts, Counts | None]:
    """The counts of the model and, where there is one, of its control, on the same batches."""
    counters, done = [OperationCounter(model) for model in models], 0
    with torch.no_grad(), ExitStack() as open_:
        for model in models:
            open_.enter_context(frozen_statistics(model))
        for batch in batches:
            for model, counter in zip(models, counters, strict=True):
                with counter:
                    model(batch.to(device))
            done += len(batch)
            told("counting operations", done, samples)
    network, *others = [counter.counts(samples) for counter in counters]
    return network, next(iter(others), None)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
