"""One model, one set of weights, the same batches: several backends side by side, and a verdict."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from neurozoo.backends.experiments import traits
from neurozoo.backends.library_calls import library_calls
from neurozoo.backends.probe import LayerCall, record_calls
from neurozoo.compare.backends import Backend, check_names
from neurozoo.compare.layers import (
    GRADIENT_TOLERANCE,
    GradientDifference,
    LayerTally,
    driven,
    gradient_difference,
    layer_problems,
)
from neurozoo.compare.memory import peak_bytes
from neurozoo.compare.result import BackendResult, Comparison, LayerResult, Verdict
from neurozoo.core.interfaces import Batch
from neurozoo.core.layer import spiking_layers
from neurozoo.errors import NeurozooError, UserError
from neurozoo.nn.running import frozen_statistics
from neurozoo.operations.counting import OperationCounter
from neurozoo.training.metrics import multilabel_metrics

__all__ = ["PROBABILITY_TOLERANCE", "SILENT", "Told", "compare"]

SILENT = 0.01
"""Below this share of neurons that ever fire, a layer's agreement says nothing."""
PROBABILITY_TOLERANCE = 1e-6
"""Allowed difference of a probability."""

Told = Callable[[str, int, int], None]
"""Hears what is being done, how much of it is done, and of how much."""


def compare(
    build: Callable[[str], nn.Module],
    batches: Sequence[Batch],
    backends: Sequence[Backend],
    *,
    repeats: int = 3,
    decision: float | list[float] = 0.5,
    told: Told | None = None,
) -> Comparison:
    """Run one model on several backends, in evaluation mode, forward and backward, and compare.

    Args:
        build: Makes the model on a backend, the same weights each time; it gives logits
            ``[B, K]`` for a batch.
        batches: With labels, for the gradients (of the mean binary cross-entropy), on the device.
        backends: Two or more; the first is the reference.
        repeats: How often each one is timed.
        decision: Probability above which a label is predicted, or one a label.
        told: Hears of the progress.

    Raises:
        UserError: Too few backends, no labels, or no spiking layer in the model.
        NeurozooError: The models' weights are not the same.
    """
    check_names([backend.name for backend in backends])
    if any(batch.labels is None for batch in batches) or not batches:
        raise UserError("the batch has no labels, which the gradients need; take a labelled split")
    tell = told or (lambda _what, _done, _of: None)
    models = {backend.name: build(backend.name).eval() for backend in backends}
    _check_weights(models)
    subjects = [_Subject(backend, models[backend.name]) for backend in backends]
    reference = subjects[0]
    for subject in subjects:
        # Two backends agree spike by spike where both promise the oracle's.
        subject.strict = subject.backend.exact and reference.backend.exact
    first_calls: Mapping[str, LayerCall] = {}
    for number, batch in enumerate(batches):
        tell("comparing", number, len(batches))
        expected = _observe(reference.model, batch)
        if not expected.calls:
            raise UserError(f"{type(reference.model).__name__} has no spiking layer, so every backend gives the same")
        first_calls = first_calls or expected.calls
        for subject in subjects:
            seen = expected if subject is reference else _observe(subject.model, batch)
            subject.add(number, seen, expected, reference.model)
    tell("counting operations", len(batches), len(batches))
    for subject in subjects:
        subject.count(batches)
    tell("measuring time and memory", len(batches), len(batches))
    _measure(subjects, batches[0], repeats)
    silent = tuple(name for name, tally in reference.layers.items() if tally.active < SILENT)
    labels = torch.cat([batch.labels for batch in batches if batch.labels is not None]).cpu().numpy()
    return Comparison(
        samples=sum(map(len, batches)),
        batches=len(batches),
        reference=reference.backend.name,
        backends=tuple(
            _result(subject, reference, first_calls, labels, decision, drive=bool(silent)) for subject in subjects
        ),
        silent=silent,
        decision_threshold=decision,
        threads=torch.get_num_threads(),
        repeats=repeats,
    )


@dataclass(frozen=True)
class _Observed:
    """One forward and backward pass."""

    logits: Tensor
    gradients: Mapping[str, Tensor | None]
    calls: Mapping[str, LayerCall]


@dataclass
class _Subject:
    """A backend under comparison, and what has been found of it so far.

    ``excused`` are the differences in batches in which an inexact backend flipped a spike: the
    rest of the model is fed other spikes there, and differs rightly.
    """

    backend: Backend
    model: nn.Module
    strict: bool = True
    layers: dict[str, LayerTally] = field(default_factory=dict)
    probabilities: list[Tensor] = field(default_factory=list)
    logit_difference: float = 0.0
    probability_difference: float = 0.0
    judged_probability: float = 0.0
    gradient: GradientDifference = field(default_factory=GradientDifference)
    judged_gradient: GradientDifference = field(default_factory=GradientDifference)
    milliseconds: list[float] = field(default_factory=list)
    macs: float = 0.0
    acs: float = 0.0
    peak: int | None = None

    def add(self, number: int, seen: _Observed, expected: _Observed, reference: nn.Module) -> None:
        """Count one batch."""
        ours, theirs = spiking_layers(self.model), spiking_layers(reference)
        flips = 0
        for name, call in expected.calls.items():
            tally = self.layers.setdefault(name, LayerTally(name))
            flips += tally.add(number, seen.calls[name], call, ours[name].neuron, theirs[name].neuron)
        logits, wanted = seen.logits.cpu().double(), expected.logits.cpu().double()
        off = float((logits.sigmoid() - wanted.sigmoid()).abs().max())
        gradient = gradient_difference(seen.gradients, expected.gradients)
        self.probabilities.append(torch.sigmoid(seen.logits).cpu())
        self.logit_difference = float(np.maximum(self.logit_difference, float((logits - wanted).abs().max())))
        self.probability_difference = float(np.maximum(self.probability_difference, off))
        self.gradient = self.gradient.or_worse(gradient)
        if self.strict or not flips:
            self.judged_probability = float(np.maximum(self.judged_probability, off))
            self.judged_gradient = self.judged_gradient.or_worse(gradient)

    def count(self, batches: Sequence[Batch]) -> None:
        """Count the operations of all batches."""
        counter = OperationCounter(self.model)
        with torch.no_grad(), frozen_statistics(self.model):
            for batch in batches:
                with counter:
                    self.model(batch)
        counts = counter.counts(sum(map(len, batches)))
        self.macs, self.acs = counts.a_sample(counts.macs), counts.a_sample(counts.acs)

    def problems(self, layers: Sequence[LayerResult]) -> tuple[str, ...]:
        """What makes the backend another one than the reference."""
        problems = [problem for layer in layers for problem in layer_problems(layer, self.strict)]
        if not self.judged_probability <= PROBABILITY_TOLERANCE:
            problems.append(f"probabilities differ by {self.judged_probability:.2g}")
        gradient = self.judged_gradient
        if not gradient.judged <= GRADIENT_TOLERANCE[self.strict]:
            problems.append(f"the gradient of {gradient.worst} differs by {gradient.relative:.2g} of its largest")
        return tuple(problems)


def _result(
    subject: _Subject,
    reference: _Subject,
    calls: Mapping[str, LayerCall],
    labels: NDArray[np.float32],
    decision: float | list[float],
    *,
    drive: bool,
) -> BackendResult:
    ours, theirs = spiking_layers(subject.model), spiking_layers(reference.model)
    layers = tuple(
        tally.result(driven(ours[name].neuron, theirs[name].neuron, calls[name]) if drive else None)
        for name, tally in subject.layers.items()
    )
    problems = subject.problems(layers)
    name, call = next(iter(calls.items()))
    neuron = ours[name].neuron
    verdict: Verdict = "reference" if subject is reference else "equivalent"
    if problems:
        verdict = "another model" if subject.backend.native else "different"
    milliseconds = statistics.median(subject.milliseconds)
    own, base = subject.peak, reference.peak
    return BackendResult(
        name=subject.backend.name,
        verdict=verdict,
        exact=subject.backend.exact,
        native=subject.backend.native,
        versions=subject.backend.versions,
        libraries=subject.backend.libraries,
        runs=neuron.runs,
        calls=library_calls(lambda: neuron.scan(call.currents, None, call.threshold), subject.backend.libraries),
        traits=traits(type(neuron)),
        layers=layers,
        logit_difference=subject.logit_difference,
        probability_difference=subject.probability_difference,
        gradient_difference=subject.gradient.relative,
        worst_gradient=subject.gradient.worst,
        metrics=multilabel_metrics(labels, torch.cat(subject.probabilities).numpy(), np.asarray(decision)),
        milliseconds=milliseconds,
        time_ratio=milliseconds / statistics.median(reference.milliseconds),
        macs=subject.macs,
        acs=subject.acs,
        peak_bytes=own,
        memory_ratio=own / base if own is not None and base else None,
        problems=problems,
    )


def _check_weights(models: Mapping[str, nn.Module]) -> None:
    (first, reference), *others = ((name, model.state_dict()) for name, model in models.items())
    for name, state in others:
        differ = [
            key
            for key in sorted(reference.keys() | state.keys())
            if key not in state or key not in reference or not torch.equal(state[key], reference[key])
        ]
        if differ:
            raise NeurozooError(
                f"the models on {first} and {name} do not have the same weights: {len(differ)} tensors differ, "
                f"such as {differ[0]}; build both from one seed or one checkpoint"
            )


def _observe(model: nn.Module, batch: Batch) -> _Observed:
    model.zero_grad(set_to_none=True)
    with record_calls(model) as calls:
        logits = _forward_backward(model, batch)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)  # sets .grad to None and leaves the tensors to us
    return _Observed(logits.detach(), gradients, calls)


def _forward_backward(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(batch)
    assert batch.labels is not None
    loss = binary_cross_entropy_with_logits(logits, batch.labels.to(logits))
    if loss.requires_grad:  # in a model without a weight, such as a NIR graph of neurons alone, nothing has a gradient
        loss.backward()  # type: ignore[no-untyped-call]
    return logits


def _measure(subjects: Sequence[_Subject], batch: Batch, repeats: int) -> None:
    """Time and memory of a pass over one batch, backend after backend, so that what drifts hits all alike."""

    def run(model: nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        _forward_backward(model, batch).detach().sum().item()  # reading a value waits for the device

    for _ in range(repeats):
        for subject in subjects:
            started = time.perf_counter()
            run(subject.model)
            subject.milliseconds.append(1000 * (time.perf_counter() - started))
            subject.model.zero_grad(set_to_none=True)
    device = next((p.device for p in subjects[0].model.parameters()), torch.device("cpu"))
    for subject in subjects:
        subject.peak = peak_bytes(lambda model=subject.model: run(model), device)  # type: ignore[misc]
        subject.model.zero_grad(set_to_none=True)
