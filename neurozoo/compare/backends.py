"""One model, one set of weights, the same batches: several backends side by side, and a verdict."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from neurozoo.backends.experiments import traits
from neurozoo.backends.library_calls import library_calls
from neurozoo.compare.layers import (
    GRADIENT_TOLERANCE,
    LayerTally,
    TensorDifference,
    driven,
    layer_problems,
    tensor_difference,
)
from neurozoo.compare.memory import peak_bytes
from neurozoo.compare.result import BackendResult, Comparison, LayerResult, Verdict
from neurozoo.core.layer import Firing
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers, unrecorded
from neurozoo.core.signals import Batch
from neurozoo.core.task import Decision, Task
from neurozoo.errors import DISTRIBUTION, NeurozooError, SpikingError, UserError
from neurozoo.evaluation.health import UNSEEN
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.profiling import Told
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["PREDICTION_TOLERANCE", "SILENT", "Backend", "check_names", "compare", "declared", "library_versions"]

_TINY = 1e-30
SILENT = 0.01
"""Below this share of neurons that ever fire, a layer's agreement says nothing."""
PREDICTION_TOLERANCE = 1e-6
"""Allowed difference of a probability; of predicted quantities, as a share of the largest output."""


def compare(
    build: Callable[[str], nn.Module],
    batches: Sequence[Batch],
    backends: Sequence[Backend],
    *,
    task: Task,
    repeats: int = 3,
    decision: Decision = None,
    told: Told = lambda what, done, of: None,
) -> Comparison:
    """Run one model on several backends, in evaluation mode, forward and backward, and compare.

    A backend that does not run the model's neurons is left out; the comparison has the reason.

    Args:
        build: Makes the model on a backend, with the same weights each time; it returns the task's outputs.
        batches: With targets, for the gradients of the task's reported loss; on the device.
        backends: Two or more; the first is the reference.
        task: What the outputs mean.
        repeats: Number of timed passes.
        decision: How predictions become answers, for the metrics; by default the task's own.
        told: Gets the progress.

    Raises:
        UserError: Too few backends, no targets, or no spiking layer in the model.
        SpikingError: The reference, or every other backend, does not run the model's neurons.
        NeurozooError: The models' weights are not the same.
    """
    check_names([backend.name for backend in backends])
    if any(batch.target is None for batch in batches) or not batches:
        raise UserError("the batch has no targets, which the gradients need; take a split that has them")
    models, refused = _built(build, backends)
    _check_weights(models)
    subjects = [_Subject(backend, models[backend.name], task) for backend in backends if backend.name in models]
    reference = subjects[0]
    for subject in subjects:
        # Two backends agree spike by spike where both promise the oracle's.
        subject.strict = subject.backend.exact and reference.backend.exact
    first_firings: Mapping[str, Firing] = {}
    unseen: Mapping[str, str] = {}
    for number, batch in enumerate(batches):
        told("comparing", number, len(batches))
        if not number:
            with torch.no_grad(), frozen_statistics(reference.model), unrecorded(reference.model) as unseen:
                reference.model(batch)
        expected = _observe(reference.model, batch, task)
        if not expected.firings:
            more = "".join(f"; {name} ({kind}) {UNSEEN}" for name, kind in unseen.items())
            raise UserError(
                f"{type(reference.model).__name__} has no spiking layer, so every backend gives the same{more}"
            )
        first_firings = first_firings or expected.firings
        for subject in subjects:
            seen = expected if subject is reference else _observe(subject.model, batch, task)
            subject.add(number, seen, expected, reference.model)
    told("counting operations", len(batches), len(batches))
    for subject in subjects:
        subject.count(batches)
    told("measuring time and memory", len(batches), len(batches))
    _measure(subjects, batches[0], repeats)
    silent = tuple(name for name, tally in reference.layers.items() if tally.active < SILENT)
    decided = task.default_decision if decision is None else decision
    return Comparison(
        samples=sum(map(len, batches)),
        batches=len(batches),
        reference=reference.backend.name,
        backends=tuple(_result(each, reference, first_firings, decided, drive=bool(silent)) for each in subjects),
        silent=silent,
        decision=decided,
        task=task.name,
        titles={metric.name: metric.title for metric in task.metrics},
        headline=tuple(task.headline),
        threads=torch.get_num_threads(),
        repeats=repeats,
        refused=refused,
        unseen=unseen,
    )


def _built(
    build: Callable[[str], nn.Module], backends: Sequence[Backend]
) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The model on each backend that runs its neurons, and the others' reasons; SpikingError where too few do."""
    models: dict[str, nn.Module] = {}
    refused: dict[str, str] = {}
    for backend in backends:
        try:
            models[backend.name] = build(backend.name).eval()
        except SpikingError as error:
            refused[backend.name] = str(error)
    reference = backends[0].name
    if refused and (reference not in models or len(models) < 2):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        what = "the reference" if reference not in models else "every other backend"
        raise SpikingError(f"{what} does not run this model: {reasons}")
    return models, refused


@dataclass(frozen=True)
class _Observed:
    """One forward and backward pass."""

    outputs: Tensor
    gradients: Mapping[str, Tensor | None]
    firings: Mapping[str, Firing]
    target: Tensor


@dataclass
class _Subject:
    """A backend under comparison, with its counts so far.

    Where an inexact backend flips a spike the rest of the model gets other spikes and rightly differs: predictions and
    gradients of such a batch are shown, but not judged.
    """

    backend: Backend
    model: nn.Module
    task: Task
    strict: bool = True
    layers: dict[str, LayerTally] = field(default_factory=dict)
    outputs: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)
    output_difference: float = 0.0
    prediction_difference: float = 0.0
    judged_prediction: float = 0.0
    gradient: TensorDifference = field(default_factory=TensorDifference)
    judged_gradient: TensorDifference = field(default_factory=TensorDifference)
    milliseconds: list[float] = field(default_factory=list)
    macs: float = 0.0
    acs: float = 0.0
    peak: int | None = None

    def add(self, number: int, seen: _Observed, expected: _Observed, reference: nn.Module) -> None:
        """Count one batch."""
        ours, theirs = spiking_layers(self.model), spiking_layers(reference)
        flips = 0
        for name, firing in expected.firings.items():
            tally = self.layers.setdefault(name, LayerTally(name))
            flips += tally.add(number, seen.firings[name], firing, ours[name], theirs[name])
        outputs, wanted = seen.outputs.double(), expected.outputs.double()
        off = _larger(0.0, outputs - wanted)
        predicted = _larger(0.0, self.task.predict(outputs) - self.task.predict(wanted))
        judged = predicted if self.task.loss_unit == "nats" else off / max(_larger(0.0, wanted), _TINY)
        gradient = tensor_difference(seen.gradients, expected.gradients)
        self.outputs.append(seen.outputs)
        self.targets.append(seen.target)
        self.output_difference = float(np.maximum(self.output_difference, off))
        self.prediction_difference = float(np.maximum(self.prediction_difference, predicted))
        self.gradient = self.gradient.or_worse(gradient)
        if self.strict or not flips:
            self.judged_prediction = float(np.maximum(self.judged_prediction, judged))
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

    def measured(self, decision: Decision) -> dict[str, float]:
        """The task's metrics, over all batches."""
        predicted = self.task.predict(torch.cat(self.outputs)).cpu().numpy()
        return self.task.measure(torch.cat(self.targets).cpu().numpy(), predicted, decision)

    def problems(self, layers: Sequence[LayerResult]) -> tuple[str, ...]:
        """What makes the backend another one than the reference."""
        problems = [problem for layer in layers for problem in layer_problems(layer, self.strict)]
        if not self.judged_prediction <= PREDICTION_TOLERANCE:
            share = "" if self.task.loss_unit == "nats" else " of the largest output"
            problems.append(f"predictions differ by {self.judged_prediction:.2g}{share}")
        gradient = self.judged_gradient
        if not gradient.judged <= GRADIENT_TOLERANCE[self.strict]:
            problems.append(f"the gradient of {gradient.worst} differs by {gradient.relative:.2g} of its largest")
        return tuple(problems)


def _larger(least: float, values: Tensor) -> float:
    """The largest absolute value, and at least ``least``; NaN where one is."""
    return float(np.maximum(least, float(values.abs().max()))) if values.numel() else least


def _result(
    subject: _Subject,
    reference: _Subject,
    firings: Mapping[str, Firing],
    decision: Decision,
    *,
    drive: bool,
) -> BackendResult:
    ours, theirs = spiking_layers(subject.model), spiking_layers(reference.model)
    layers = tuple(
        tally.result(driven(ours[name], theirs[name], firings[name]) if drive else None)
        for name, tally in subject.layers.items()
    )
    problems = subject.problems(layers)
    name, firing = next(iter(firings.items()))
    neuron, (currents, threshold) = ours[name].neuron, firing.driving
    params = {key: value.detach() for key, value in ours[name].params().items()} or None
    verdict: Verdict = "reference" if subject is reference else "equivalent"
    if problems:
        verdict = "another model" if subject.backend.native else "different"
    milliseconds = statistics.median(subject.milliseconds)
    own, base = subject.peak, reference.peak
    return BackendResult(
        **vars(subject.backend),
        verdict=verdict,
        runs=neuron.runs,
        calls=library_calls(lambda: neuron.scan(currents, None, threshold, params), subject.backend.libraries),
        traits=traits(type(neuron)),
        layers=layers,
        output_difference=subject.output_difference,
        prediction_difference=subject.prediction_difference,
        gradient_difference=subject.gradient.relative,
        worst_gradient=subject.gradient.worst,
        metrics=subject.measured(decision),
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
        differ = sorted(reference.keys() ^ state.keys())
        differ += [key for key in reference.keys() & state.keys() if not torch.equal(state[key], reference[key])]
        if differ:
            raise NeurozooError(
                f"the models on {first} and {name} do not have the same weights: {len(differ)} tensors differ, "
                f"such as {differ[0]}; build both from one seed or one checkpoint"
            )


def _observe(model: nn.Module, batch: Batch, task: Task) -> _Observed:
    model.zero_grad(set_to_none=True)
    spiking = spiking_layers(model)
    with recorded(model) as firings:
        outputs, target = _forward_backward(model, batch, task)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)  # sets .grad to None and leaves the tensors to us
    fired = {name: firing.detached() for name, firing in firings.items() if name in spiking}
    return _Observed(outputs.detach(), gradients, fired, target)


def _forward_backward(model: nn.Module, batch: Batch, task: Task) -> tuple[Tensor, Tensor]:
    """The outputs ``[n, K]`` that count and their targets, after a backward pass of their loss."""
    assert batch.target is not None
    outputs, target = task.counted(model(batch), batch.target, batch.target_valid)
    loss = task.reported_loss(outputs, target)
    if loss.requires_grad:  # in a model without a weight, such as a NIR graph of neurons alone, nothing has a gradient
        loss.backward()  # type: ignore[no-untyped-call]
    return outputs, target


def _measure(subjects: Sequence[_Subject], batch: Batch, repeats: int) -> None:
    """Time and memory of a pass over one batch; backends take turns, so that drift affects all of them."""

    def run(model: nn.Module) -> None:
        model.zero_grad(set_to_none=True)
        outputs, _ = _forward_backward(model, batch, subjects[0].task)
        outputs.detach().sum().item()  # waits for the device

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


@dataclass(frozen=True)
class Backend:
    """A backend to be compared.

    Attributes:
        name: What to call it.
        exact: Whether every spike must be the oracle's.
        native: Whether it is its library's neuron unchanged, which is another model.
        libraries: Import names of what it runs on.
        versions: By name of the distribution.
    """

    name: str
    exact: bool = True
    native: bool = False
    libraries: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def declared(name: str, registry: Registry | None = None) -> Backend:
    """Return a registered backend with what it declares.

    Raises:
        UnknownNameError: There is none of that name.
    """
    registry = registry or default_registry()
    component = registry.get("neuron", name)
    plugin, _, version = registry.owner("neuron", name).partition(" ")
    versions = {"torch": str(torch.__version__), plugin: version, **library_versions(component.requires)}
    return Backend(name, component.exact, component.native, component.requires, versions)


def library_versions(libraries: Sequence[str]) -> dict[str, str]:
    """Versions by import name; ``unknown`` where the distribution has another name."""
    found = {}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(DISTRIBUTION if library == "neurozoo" else library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "unknown"
    return found


def check_names(names: Sequence[str]) -> None:
    """Refuse a choice of backends that cannot be compared.

    Raises:
        UserError: There are fewer than two, or one is named twice.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"given were the backends {', '.join(names) or 'none'}; give two or more different ones, "
            "such as torch and one of a plugin; `neurozoo list backends` has them"
        )
