"""A trained model's operations on a split of its data, beside those of its control."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Batch, ZooModel
from neurozoo.core.layer import spiking_layers
from neurozoo.data.view import DataView, SplitView
from neurozoo.errors import DataError, RunError, UserError
from neurozoo.evaluation.evaluate import check_data
from neurozoo.models.build import assemble, open_data
from neurozoo.nn.running import frozen_statistics
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts, OperationsProfile
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.device import choose_device
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.trained_folder import Trained

__all__ = [
    "FILE",
    "ReLULayer",
    "Told",
    "by_length",
    "chosen",
    "keep",
    "kept_profile",
    "needs_its_batch",
    "padding_takes_part",
    "profile_run",
    "relu_control",
    "without_padding",
]

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
    data_root: str | Path | None = None,
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


def _data(trained: TrainedModel, data_root: str | Path | None) -> DataView:
    recipe = trained.recipe
    if data_root is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(data_root)})})
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


_KIND, _RELU = "activation", "relu"


class ReLULayer(nn.Module):
    """``relu(I / threshold)`` at every step, in the place of a layer of neurons that no activation holds."""

    def forward(self, currents: Tensor, threshold: Tensor | float = 1.0) -> Tensor:
        """What it gives for currents ``[T, B, ...]``."""
        return torch.relu(currents / threshold)

    def run(self, currents: Tensor, threshold: Tensor | float, state: object) -> tuple[Tensor, None]:
        """As a call; no step knows of another, so that there is nothing to carry."""
        return self(currents, threshold), None


def relu_control(model: ZooModel, recipe: Recipe, registry: Registry | None = None) -> tuple[ZooModel | None, str]:
    """A model's control with its own weights, in evaluation mode on its device; and what it is, or why there is none.

    Activations become the part ``relu``, layers of neurons outside of one :class:`ReLULayer`. It is not trained as
    such, so that its predictions are of no use; what it does is counted by running it.

    Args:
        model: A model with its weights.
        recipe: What it was made with.
        registry: Where names are looked up.
    """
    if not spiking_layers(model):
        return None, "no control: the model has no layer of spiking neurons"
    registry = registry or default_registry()
    slots = registry.resolve("model", recipe.model.name).slots
    overrides = [f"model.parts.{slot}={_RELU}" for slot, kind in slots.items() if kind == _KIND]
    other = recipe.with_overrides(overrides, registry=registry) if overrides else recipe
    control = assemble(other, model.inputs, registry=registry)
    missing, left = control.load_state_dict(model.state_dict(), strict=False)
    if missing:
        return None, f"no control: with ReLUs it would have weights that the model lacks ({', '.join(missing)})"
    for name in spiking_layers(control):
        above, _, own = name.rpartition(".")
        setattr(control.get_submodule(above), own, ReLULayer())
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    about = "the same weights with a ReLU for each spiking neuron; it is not trained so, and counted by running it"
    about += f"; it lacks the neurons' own {', '.join(left)}" if left else ""
    return control.to(device).eval(), about


def chosen(samples: int, wanted: int | None) -> Tensor:
    """Places ``[n]`` of so many of the samples, evenly spread from the first on; all where that many are not there."""
    if wanted is None or wanted >= samples:
        return torch.arange(samples)
    return torch.arange(wanted) * samples // wanted


def needs_its_batch(model: nn.Module) -> bool:
    """Whether what the model does with a sample depends on the others of its batch."""
    return any(getattr(module, "whole_batch", False) for module in model.modules())


def padding_takes_part(model: ZooModel, batch: Batch) -> bool:
    """Whether rows of padding reach the spiking layers, by what the model says of them."""
    masks = model.layer_masks(batch)
    return not masks or any(mask is None for mask in masks.values())


def by_length(split: SplitView, places: Tensor, size: int) -> Iterator[Batch]:
    """Samples of a split in batches without any padding: together are those whose sequences are equally long.

    Args:
        split: Of a view.
        places: ``[n]``, which samples.
        size: How many are read at a time, and at most are in a batch.
    """
    for some in torch.split(places, size):
        yield from without_padding(split.batch(some))


def without_padding(batch: Batch) -> Iterator[Batch]:
    """The samples of a batch in smaller ones, the valid rows alone.

    A sample without a valid row of a modality keeps one row of padding there, as no model takes a sequence of none.
    """
    names = list(batch.features)
    lengths = torch.stack([batch.masks[name].sum(1) for name in names], 1)  # [B, modalities]
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(lengths.tolist()):
        groups.setdefault(tuple(each), []).append(place)
    for length, members in groups.items():
        some = torch.tensor(members)
        rows = {name: _first_valid(batch.masks[name][some], n) for name, n in zip(names, length, strict=True)}
        yield Batch(
            {name: _taken(batch.features[name][some], each) for name, each in rows.items()},
            {name: batch.masks[name][some].gather(1, each) for name, each in rows.items()},
            None if batch.labels is None else batch.labels[some],
            None if batch.index is None else batch.index[some],
        )


def _first_valid(mask: Tensor, length: int) -> Tensor:
    """Places ``[B, n]`` of the valid rows, all samples having as many of them."""
    return torch.argsort((~mask).to(torch.uint8), dim=1, stable=True)[:, : max(length, 1)]


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))
