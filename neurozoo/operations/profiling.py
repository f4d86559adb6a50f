"""A trained model's operations on a split of its data, and those of its control."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from neurozoo.core.kinds import ReLUSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.model import Model, NeuronChoice
from neurozoo.core.neuron import Params, State
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.data.view import SplitView
from neurozoo.errors import RunError, UserError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.files.json_text import read_json
from neurozoo.files.opening import sha256_of
from neurozoo.nn.sequence import valid_first
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts, OperationsProfile
from neurozoo.runs.device import device_of_run
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.trained_folder import Trained

__all__ = [
    "FILE",
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

_BOUND = 1e4
FILE = "operations.json"
"""Where a run keeps its profile."""

Told = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much."""


@dataclass(frozen=True, kw_only=True)
class _BoundedReLU(ReLUSpec):
    """The control's neuron: a ReLU whose outputs stop at a number that only diverging ones reach.

    Attention of spikes multiplies three activations, and recurrent weights one with itself, so that without a bound
    numbers overflow after some layers or steps, and what is not a number is not 0 and would be counted.
    """

    def step(self, current: Tensor, state: State, threshold: Tensor | float, params: Params) -> tuple[Tensor, State]:
        return torch.relu(current / threshold).clamp(max=_BOUND), ()


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
        samples: Number of samples, evenly spread over the split; by default all.
        control: A trained model to compare with, such as the run of its recipe with the neuron ``relu``; by default
            the same weights with a ReLU for each spiking neuron.
        data_root: The store's folder, if it has moved.
        told: Gets the progress.

    Raises:
        UserError: The run, its control, its data or its checkpoint cannot be used, or the split is empty or closed.
    """
    if samples is not None and samples < 1:
        raise UserError(f"{samples} samples are asked for; give a number from 1 on, or none for all")
    trained = load(run, backend=backend).check_finite()
    view = data_of(trained, data_root)
    view.check_samples(split)
    device = device_of_run(trained.recipe.training.device)
    model = trained.module.to(device).eval()
    other, about = relu_control(model) if control is None else _trained_control(control, trained)
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
    network, counts_of_control = _count(
        [model] if other is None else [model, other], batches, device, len(places), told
    )
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
        weights=sha256_of(trained.source.checkpoint),
        padding=counted,
        alone=alone,
        network=network,
        control=counts_of_control,
        about_control=about,
    )


def kept_profile(source: Trained) -> OperationsProfile | None:
    """Return the profile kept with a trained model; None without one, or if its weights have changed since.

    Raises:
        RunError: It is damaged, or no profile of operations.
    """
    if source.packed is not None:
        content = source.packed.summary.get("operations")
        where = f"{source.folder}, its operations"
    else:
        path = source.folder / FILE
        where = str(path)
        content = read_json(path, inside=source.folder, error=RunError) if os.path.lexists(path) else None
    if content is None:
        return None
    found = OperationsProfile.from_dict(content, where)
    return found if source.checkpoint.is_file() and found.weights == sha256_of(source.checkpoint) else None


def keep(source: Trained, profile: OperationsProfile) -> None:
    """Keep a profile in a run's folder, for reports, comparisons and model cards.

    Raises:
        RunError: It cannot be written, or the model is packed, and stays as it was packed.
    """
    if source.run is None:
        raise RunError(f"{source.folder}: is packed, and nothing is added to it")
    source.run.write_json(FILE, profile.to_dict())


def _trained_control(control: str | Path, trained: TrainedModel) -> tuple[Model, str]:
    """Return another trained model as the control; UserError if it spikes, or takes other inputs."""
    other = load(control).check_finite()
    if spiking := list(spiking_layers(other.module)):
        raise UserError(
            f"{control}: has spiking neurons ({spiking[0]}), so it is no control; give a run that was trained with "
            f"{' '.join(_without_spikes(other.module)) or 'neurons that do not fire'}"
        )
    theirs, ours = (each.module.problem for each in (other, trained))
    shapes = [{name: shape.shape for name, shape in each.signals.items()} for each in (theirs, ours)]
    if shapes[0] != shapes[1] or other.outputs != trained.outputs:
        raise UserError(
            f"{control}: has other signals or outputs than {trained.source.folder}; give a run on the same data"
        )
    return other.module, f"{other.recipe.name} as {Path(control).name} was trained, without spikes"


def _count(
    models: Sequence[Model], batches: Iterable[Batch], device: torch.device, samples: int, told: Told
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


def _without_spikes(model: Model) -> list[str]:
    """The overrides that give a model the control's neurons."""
    return [f"model.parts.{slot}=relu" for slot, base in model.slots.items() if base is NeuronChoice]


def relu_control(model: Model) -> tuple[Model | None, str]:
    """Return a model's control with its own weights, in evaluation mode, and what it is; None and why without one.

    Each layer of spiking neurons becomes one of ``max(0, current / threshold)``. It is not trained like this: its
    predictions mean nothing, only its operations are counted.

    Args:
        model: A model with its weights; it is not changed.
    """
    spiking = spiking_layers(model)
    if not spiking:
        return None, "no control: the model has no layer of spiking neurons"
    kept = {id(layer.neuron): layer.neuron for layer in spiking.values()}  # of a library, which may not be copied
    control = copy.deepcopy(model, kept)
    left = [f"{name}.{own}" for name, layer in spiking.items() for own in layer.stored]
    for name, layer in spiking_layers(control).items():
        above, _, own = name.rpartition(".")
        plain = SpikingLayer(
            TorchNeuron(_BoundedReLU()),
            layer.synapse,
            recurrent=layer.recurrent,
            self_connections=layer.self_connections,
            gain=layer.gain,
        )
        control.get_submodule(above).register_module(own, plain)
    about = "the same weights with a ReLU for each spiking neuron; it is not trained so, and counted by running it"
    about += f"; it lacks the neurons' own {', '.join(left)}" if left else ""
    return control.eval(), about


def chosen(samples: int, wanted: int | None) -> Tensor:
    """Return the places ``[n]`` of ``wanted`` samples, evenly spread from the first; of all if there are fewer."""
    if wanted is None or wanted >= samples:
        return torch.arange(samples)
    return torch.arange(wanted) * samples // wanted


def needs_its_batch(model: nn.Module) -> bool:
    """Return whether a sample's outputs depend on the others of its batch."""
    return any(getattr(module, "whole_batch", False) is True for module in model.modules())


@torch.no_grad()
def padding_takes_part(model: Model, batch: Batch) -> bool:
    """Return whether the spiking layers count a row of padding that is added to a batch."""
    ragged = {name: signal for name, signal in batch.signals.items() if model.problem.signals[name].ragged}
    if not ragged:
        return False
    padded = {name: _with_padding(signal) for name, signal in ragged.items()}
    spiking = spiking_layers(model)
    with frozen_statistics(model), recorded(model) as firings:
        model(replace(batch, signals={**batch.signals, **padded}, target=None, target_valid=None))
    masks = [firing.valid for name, firing in firings.items() if name in spiking]
    return not masks or any(mask is None or bool(mask.all()) for mask in masks)


def _with_padding(signal: Signal) -> Signal:
    """A signal with a row of padding more."""
    values, mask = signal.values, signal.mask
    return Signal(torch.cat((values, torch.zeros_like(values[:, :1])), 1), torch.cat((mask, mask[:, :1] & False), 1))


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

    A sample without a valid row of a signal keeps one row of padding there, as no model takes a sequence of none.
    """
    masks = {name: signal.mask for name, signal in batch.signals.items()}
    lengths = torch.stack([mask.sum(1) for mask in masks.values()], 1)  # [B, signals]
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, each in enumerate(lengths.tolist()):
        groups.setdefault(tuple(each), []).append(place)
    for length, members in groups.items():
        some = torch.tensor(members)
        signals = {}
        for (name, mask), n in zip(masks.items(), length, strict=True):
            rows = valid_first(mask[some])[:, : max(n, 1)]
            signal = batch.signals[name]
            valid = None if signal.valid is None else mask[some].gather(1, rows)
            signals[name] = Signal(signal.values[some[:, None], rows], valid)
        yield Batch(
            signals,
            None if batch.target is None else batch.target[some],
            None if batch.target_valid is None else batch.target_valid[some],
            None if batch.index is None else batch.index[some],
        )
