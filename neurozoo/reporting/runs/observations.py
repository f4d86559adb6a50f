"""A run's best weights on samples of valid: answers, spikes and membranes of some, the labels' attention over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded, spiking_layers
from neurozoo.core.signals import Batch, SignalShape
from neurozoo.data.view import DataView, SplitView
from neurozoo.errors import DataError, UserError
from neurozoo.evaluation.evaluate import data_of
from neurozoo.heads.label_decoder import LabelDecoderHead, record_label_attention
from neurozoo.operations.profiling import Told
from neurozoo.reporting.pixels import evenly
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.runs.traces import Trace, rows_of, trace_of
from neurozoo.reporting.samples import Sample, answer_words, sample_facts, signals_of, steps_of
from neurozoo.runs.device import device_of_run
from neurozoo.runs.loading import load

__all__ = ["SPLIT", "Answered", "Attention", "Looked", "SpikeTrains", "look"]

SPLIT = "valid"
_STEPS = 600
_NEURONS = 64


@dataclass(frozen=True)
class SpikeTrains:
    """The spikes of a layer for a sample, over its valid positions.

    Attributes:
        sample: Its name.
        layer: Dotted name.
        spikes: ``[N, S]``, at most 64 neurons, evenly chosen, and 600 steps.
        positions: How many positions the S steps are.
        neurons: How many the layer has.
        cut: Whether there are more steps.
        rate: Mean firing rate of all neurons over all valid steps, in spikes a step; 0 if no step is valid.
    """

    sample: str
    layer: str
    spikes: NDArray[np.bool_]
    positions: int
    neurons: int
    cut: bool
    rate: float


@dataclass(frozen=True)
class Attention:
    """The labels' attention, mean over samples.

    Attributes:
        weights: By modality, of each label ``[K]``; they add up to 1.
        shares: By modality, its share of the rows that the attention covers.
        samples: How many samples.
    """

    weights: Mapping[str, Sequence[float]]
    shares: Mapping[str, float]
    samples: int


@dataclass(frozen=True)
class Answered:
    """A sample, and what a run answered to it.

    Attributes:
        sample: With its signals as the model sees them; per step with what the model predicted.
        true: Its target in words; empty if there is one per step.
        answer: The model's in words, with the largest probability of a class.
    """

    sample: Sample
    true: str
    answer: str

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        own = {} if self.sample.steps is not None else {"true": self.true, "answer": self.answer}
        return {"id": self.sample.name, **own, **sample_facts(self.sample)}


@dataclass(frozen=True)
class Looked:
    """The observations of a run: what it saw and answered, spikes and traces by sample and layer; the attention, or
    why there is none. ``layers`` are the names of all its layers of neurons."""

    samples: Sequence[Answered] = ()
    trains: Sequence[SpikeTrains] = ()
    traces: Sequence[Trace] = ()
    layers: Sequence[str] = ()
    attention: Attention | None = None
    why: str = ""


def look(
    run: ReportedRun,
    samples: Sequence[str],
    first: int,
    neurons: Mapping[str, Sequence[int]],
    *,
    data_root: str | None = None,
    told: Told,
) -> Looked:
    """Run a run's best weights on the named samples of valid, or on so many of its first ones if none is named.

    Traces are of the first sample, or of all that are named; of the named neurons, else of a few of each layer that
    fires.

    Raises:
        NeurozooError: The data or the weights are missing or others; or the model cannot be built here.
        UserError: There is no such sample or neuron.
    """
    trained = load(run.folder)
    recipe, view = trained.recipe, data_of(trained, data_root)
    if view.description.checksum != run.checksum:
        raise DataError(f"the data of the name {run.data} that is here is not what it was trained on")
    device = device_of_run(recipe.training.device)
    model = trained.module.to(device).eval()
    with torch.no_grad(), frozen_statistics(model):
        ids = view.split(SPLIT).ids
        for each in samples:
            if each not in ids:
                some = ", ".join(ids[:3])
                raise UserError(f"{SPLIT} has no sample called {each!r}; it has {len(ids):,}, such as {some}")
        layers, spiking = neuron_layers(model), spiking_layers(model)
        answered: list[Answered] = []
        trains: list[SpikeTrains] = []
        traces: list[Trace | None] = []
        for sample in samples or [ids[place] for place in _first(view.split(SPLIT), first)]:
            # Alone, so that no other sample's features decide its spikes.
            batch = view.split(SPLIT).batch(torch.tensor([ids.index(sample)]))
            with recorded(model) as firings:
                outputs = model(batch.to(device))
            answered.append(_answered(run, sample, batch, model.problem.task.predict(outputs), view.signals))
            trains += [_train(sample, name, firing) for name, firing in firings.items() if name in spiking]
            if samples or not traces:
                for name in [name for name in (neurons or spiking) if name in firings]:
                    traces.append(trace_of(sample, name, layers[name], firings[name], neurons.get(name)))
        attention, why = _attention(model, view, recipe.evaluation.batch_size, device, told)
    kept = [trace for trace in traces if trace is not None]
    return Looked(answered, trains, kept, list(layers), attention, why)


def _first(samples: SplitView, number: int) -> list[int]:
    """The places of the first samples, of different classes where each sample has a class."""
    target = samples.target
    if target.dim() != 1 or target.is_floating_point():
        return list(range(min(number, len(samples))))
    _, found = np.unique(target.numpy(), return_index=True)
    places = sorted(found.tolist())[:number]
    places += [place for place in range(min(number, len(samples))) if place not in places][: number - len(places)]
    return sorted(places)


def _answered(
    run: ReportedRun, name: str, batch: Batch, predicted: Tensor, shapes: Mapping[str, SignalShape]
) -> Answered:
    """Put a batch of one sample and the predictions for it, ``[1, K]`` or ``[1, L, K]``, together."""
    assert run.task is not None
    signals, values = signals_of(batch, shapes), predicted[0].double().cpu().numpy()
    title = f"{name}{'' if not run.place else f' by {run.name}'}"
    if run.task.per_step:
        steps = steps_of(batch, run.outputs)
        shown = values[: len(steps.valid)]
        classes = run.task.decide(shown, run.decision) if steps.target.ndim == 1 else None
        steps = replace(steps, predicted=shown, answer=classes)
        return Answered(Sample(name, title, signals, steps), "", "")
    assert batch.target is not None
    true = answer_words(batch.target[0].cpu().numpy(), run.outputs)
    decided = np.asarray(run.task.decide(values[None], run.decision))[0]
    answer = answer_words(decided, run.outputs)
    answer += f" ({values.max():.0%})" if decided.ndim == 0 else ""
    return Answered(Sample(name, f"{title}: {true}", signals), true, answer)


def _train(sample: str, layer: str, firing: Firing) -> SpikeTrains:
    """A sample's spikes ``[T, 1, ...]``, one row a neuron; see :func:`rows_of`."""
    rows, steps = rows_of((firing.spikes > 0).cpu(), None if firing.valid is None else firing.valid.cpu())
    neurons = rows.shape[1]
    chosen = evenly(neurons, _NEURONS)
    shown = rows[: max(_STEPS // steps, 1) * steps].numpy()[:, chosen].T
    rate = float(rows.double().mean()) if rows.numel() else 0.0
    cut = shown.shape[1] < rows.shape[0]
    return SpikeTrains(sample, layer, shown, shown.shape[1] // steps, neurons, cut, rate)


def _attention(
    model: Model, view: DataView, batch_size: int, device: torch.device, told: Told
) -> tuple[Attention | None, str]:
    if not any(isinstance(module, LabelDecoderHead) for module in model.modules()):
        return None, "it has no label decoder, whose attention to the sequence is shown here"
    weights: dict[str, Tensor] = {}
    shares: dict[str, Tensor] = {}
    samples, done, size = 0, 0, len(view.split(SPLIT))
    for batch in view.batches(SPLIT, batch_size):
        with record_label_attention(model) as recorded_attention:
            model(batch.to(device))
        (attended,) = recorded_attention
        own, rows = attended.by_modality()
        if not own:
            return None, "its fusion does not report which rows of its sequence belong to which modality"
        there = attended.valid.any(1)  # a sample without a valid row has no attention
        for name in own:
            weights[name] = own[name][there].double().sum(0).cpu() + weights.get(name, 0)
            shares[name] = rows[name][there].double().sum(0).cpu() + shares.get(name, 0)
        samples, done = samples + int(there.sum()), done + len(batch)
        told("the labels' attention", done, size)
    if not samples:
        return None, f"no sample of {SPLIT} has a valid position"
    return Attention(
        {name: (total / samples).tolist() for name, total in weights.items()},
        {name: float(total / samples) for name, total in shares.items()},
        samples,
    ), ""
