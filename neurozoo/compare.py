"""One model, one set of weights, one batch: several backends side by side, and a verdict."""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from neurozoo.assemble import assemble, inputs_of, open_data, shapes_of
from neurozoo.data.synthetic import made_up
from neurozoo.data.view import DataView
from neurozoo.errors import NeurozooError, NotInstalledError, UserError
from neurozoo.interfaces import Batch
from neurozoo.nn.agreement import MARGIN_ULPS
from neurozoo.nn.neurons import spiking_layers
from neurozoo.nn.probe import LayerCall, LayerProbe, active_share, driving_currents, probe, record_calls
from neurozoo.recipe import Recipe
from neurozoo.registry import Registry, default_registry
from neurozoo.training.prepare import prepare

__all__ = ["BackendResult", "Comparison", "LayerResult", "compare", "compare_recipe"]

SILENT = 0.01
"""Below this share of neurons that ever fire, a layer's agreement says nothing."""
DRIVEN = (0.05, 0.5)
"""What share fires where a silent model's layers are driven directly."""
GRADIENT_TOLERANCE = {True: 1e-5, False: 1e-4}
"""Allowed difference of a gradient, as a share of its tensor's largest, by exact or not."""
GRADIENT_FLOOR = 1e-4
"""Tensors whose largest gradient is below this share of the model's largest are judged by that:
some gradients are 0 but for rounding, such as an attention key's bias."""
PROBABILITY_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LayerResult:
    """One spiking layer on one backend.

    Attributes:
        name: Its dotted name.
        spikes: How many were compared, neurons times steps.
        mismatches: How many differ from the reference's, in the whole model.
        first_step: The first step with a mismatch, from 0; None without one.
        rate: Spikes a step.
        active: Share of the neurons that fire at least once.
        alone: The layer by itself, on the reference's own input; judged by this, as a spike that
            flips within rounding changes the input of all that follows.
        driven: The layer by itself on a made-up current, where the model is silent; else None.
    """

    name: str
    spikes: int
    mismatches: int
    first_step: int | None
    rate: float
    active: float
    alone: LayerProbe
    driven: LayerProbe | None


@dataclass(frozen=True)
class BackendResult:
    """One backend against the reference, which is compared with itself.

    Attributes:
        name: The backend.
        exact: Whether it declares that every spike is the oracle's.
        versions: Of the distributions it runs on.
        layers: Its spiking layers, in order.
        logit_difference: Largest absolute difference.
        probability_difference: Largest absolute difference.
        gradient_difference: Largest difference of a gradient, as a share of its tensor's largest.
        worst_gradient: The parameter where that is.
        milliseconds: Median time of a forward and backward pass.
        time_ratio: That time, in units of the reference's.
        problems: What makes it different, and where; empty where it is equivalent.
    """

    name: str
    exact: bool
    versions: Mapping[str, str]
    layers: tuple[LayerResult, ...]
    logit_difference: float
    probability_difference: float
    gradient_difference: float
    worst_gradient: str
    milliseconds: float
    time_ratio: float
    problems: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """``equivalent`` or ``different``."""
        return "different" if self.problems else "equivalent"


@dataclass(frozen=True)
class Comparison:
    """Several backends on one model and one batch.

    Attributes:
        samples: Size of the batch.
        reference: The backend that the others are compared with.
        backends: All of them, the reference first.
        silent: Layers in which less than 1 % of the reference's neurons ever fire.
        data: Where the batch comes from.
        synthetic: Whether it is made up.
    """

    samples: int
    reference: str
    backends: tuple[BackendResult, ...]
    silent: tuple[str, ...]
    data: str = ""
    synthetic: bool = False

    @property
    def empty(self) -> bool:
        """Whether a layer is silent, so that equal spikes prove nothing."""
        return bool(self.silent)

    @property
    def different(self) -> bool:
        """Whether any backend is different."""
        return any(backend.problems for backend in self.backends)

    @property
    def verdict(self) -> str:
        """``equivalent`` or ``different``."""
        return "different" if self.different else "equivalent"

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain dicts, lists and numbers."""
        content = asdict(self)
        content["backends"] = [{**asdict(backend), "verdict": backend.verdict} for backend in self.backends]
        return {"verdict": self.verdict, "empty": self.empty, **content}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@dataclass(frozen=True)
class _Observed:
    """One forward and backward pass."""

    logits: Tensor
    gradients: Mapping[str, Tensor | None]
    calls: Mapping[str, LayerCall]


def compare_recipe(
    recipe: Recipe,
    backends: Sequence[str],
    *,
    batch_size: int = 16,
    repeats: int = 3,
    registry: Registry | None = None,
) -> Comparison:
    """Compare backends on a recipe's model and the first training samples of its data.

    The model is as training would begin with it: features scaled and spiking branches
    initialised as the recipe says. Where the data is not there and the recipe says what to
    expect, the batch is made up and the model has its default weights.

    Raises:
        UserError: A backend is not known, or there is neither data nor its shapes.
    """
    registry = registry or default_registry()
    try:
        view: DataView | None = open_data(recipe, registry=registry)
    except NotInstalledError:
        view = None
    modalities, labels = (view.modalities, view.labels) if view is not None else shapes_of(recipe)[:2]
    inputs = inputs_of(recipe, {name: modality.dim for name, modality in modalities.items()}, len(labels))
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        first = assemble(recipe, inputs, backend=backends[0], registry=registry)
        if view is None:
            batch = made_up(modalities, labels, batch_size, recipe.seed)
        else:
            prepare(first, view, recipe)
            split = view.split("train")
            batch = split.batch(torch.arange(min(batch_size, len(split))))

        def build(backend: str) -> nn.Module:
            model = assemble(recipe, inputs, backend=backend, registry=registry)
            model.load_state_dict(first.state_dict())
            return model

        found = compare(build, batch, backends, repeats=repeats, registry=registry)
    if view is None:
        origin, synthetic = f"{recipe.data.name} is not installed, so the batch is made up, at default weights", True
    else:
        origin, synthetic = (
            f"{view.description.origin.get('source', 'a store')}, training split",
            view.description.synthetic,
        )
    return replace(found, data=origin, synthetic=synthetic)


def compare(
    build: Callable[[str], nn.Module],
    batch: Batch,
    backends: Sequence[str],
    *,
    repeats: int = 3,
    exact: Mapping[str, bool] | None = None,
    registry: Registry | None = None,
) -> Comparison:
    """Run one model on several backends, in evaluation mode, and compare.

    Args:
        build: Makes the model on a backend, the same weights each time; it gives logits
            ``[B, K]`` for the batch.
        batch: With labels, for the gradients (of the mean binary cross-entropy).
        backends: Two or more names; the first is the reference.
        repeats: How often each one is timed.
        exact: Whether each backend promises the oracle's spikes; by default as it declares.
        registry: Where they declare it; by default what is installed.

    Raises:
        UserError: Too few backends, no labels, or no spiking layer in the model.
        NeurozooError: The models' weights are not the same.
    """
    if len(backends) < 2 or len(set(backends)) < len(backends):
        raise UserError(f"given were the backends {', '.join(backends) or 'none'}; give two or more different ones")
    if batch.labels is None:
        raise UserError("the batch has no labels, which the gradients need; take a labelled split")
    registry = registry or default_registry()
    if exact is None:
        exact = {name: registry.get("backend", name).exact for name in backends}

    # Two backends agree spike by spike where both promise the oracle's.
    strict = {name: exact[name] and exact[backends[0]] for name in backends}
    models = {name: build(name).eval() for name in backends}
    _check_weights(models)
    reference = models[backends[0]]
    seen = {name: _observe(model, batch) for name, model in models.items()}
    # A layer that the forward pass does not use says nothing.
    used = list(seen[backends[0]].calls)
    if not used:
        raise UserError(f"{type(reference).__name__} has no spiking layer, so every backend gives the same")
    silent = tuple(name for name in used if active_share(seen[backends[0]].calls[name].spikes) < SILENT)
    milliseconds = {name: _milliseconds(model, batch, repeats) for name, model in models.items()}

    results: list[BackendResult] = []
    for name, model in models.items():
        layers = _compare_layers(model, reference, seen[name], seen[backends[0]], drive=bool(silent))
        logits, expected = seen[name].logits.double(), seen[backends[0]].logits.double()
        worst, difference, judged = _gradient_difference(seen[name].gradients, seen[backends[0]].gradients)
        probability_difference = float((logits.sigmoid() - expected.sigmoid()).abs().max())
        problems = [problem for layer in layers for problem in _layer_problems(layer, strict[name])]
        if strict[name] or not any(layer.mismatches for layer in layers):
            # After an excused flip the rest of the model is fed other spikes, and differs rightly.
            if not probability_difference <= PROBABILITY_TOLERANCE:
                problems.append(f"probabilities differ by {probability_difference:.2g}")
            if not judged <= GRADIENT_TOLERANCE[strict[name]]:
                problems.append(f"the gradient of {worst} differs by {difference:.2g} of its largest")
        results.append(
            BackendResult(
                name,
                exact[name],
                _versions(name, registry),
                layers,
                float((logits - expected).abs().max()),
                probability_difference,
                difference,
                worst,
                milliseconds[name],
                milliseconds[name] / milliseconds[backends[0]],
                tuple(problems),
            )
        )
    return Comparison(len(batch), backends[0], tuple(results), silent)


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
    binary_cross_entropy_with_logits(logits, batch.labels.to(logits)).backward()  # type: ignore[no-untyped-call]
    return logits


def _milliseconds(model: nn.Module, batch: Batch, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        _forward_backward(model, batch).detach().sum().item()  # reading a value waits for the device
        times.append(time.perf_counter() - started)
    model.zero_grad(set_to_none=True)
    return 1000 * statistics.median(times)


def _compare_layers(
    model: nn.Module, reference: nn.Module, seen: _Observed, expected: _Observed, *, drive: bool
) -> tuple[LayerResult, ...]:
    ours, theirs = spiking_layers(model), spiking_layers(reference)
    results = []
    for name, call in expected.calls.items():
        neuron, oracle = ours[name].neuron, theirs[name].neuron
        spikes = seen.calls[name].spikes
        differ = (spikes != call.spikes).flatten(1).sum(1).tolist()
        driven = None
        if drive:
            made = driving_currents(oracle, call.currents, call.threshold)
            driven = probe(neuron, oracle, made, call.threshold)
        results.append(
            LayerResult(
                name,
                spikes.numel(),
                sum(differ),
                next((step for step, count in enumerate(differ) if count), None),
                float(spikes.mean(dtype=torch.float64)),
                active_share(spikes),
                probe(neuron, oracle, call.currents, call.threshold),
                driven,
            )
        )
    return tuple(results)


def _layer_problems(layer: LayerResult, exact: bool) -> list[str]:
    problems = []
    if exact and layer.mismatches:
        problems.append(
            f"{layer.name}: {layer.mismatches} of {layer.spikes} spikes differ, the first in step {layer.first_step}"
        )
    for where, found in (("by itself", layer.alone), ("driven by a current", layer.driven)):
        if found is None:
            continue
        agreed = found.agreement
        if agreed.mismatches if exact else agreed.beyond:
            problems.append(
                f"{layer.name} {where}: {agreed.mismatches} of {agreed.spikes} spikes differ, {agreed.beyond} of them "
                f"by more than {MARGIN_ULPS} units in the last place"
            )
        elif agreed.parted if exact else agreed.stray:
            problems.append(f"{layer.name} {where}: {agreed.parted} neurons part over several steps, not by rounding")
        if not found.gradient_difference <= GRADIENT_TOLERANCE[exact]:
            problems.append(f"{layer.name} {where}: its gradient differs by {found.gradient_difference:.2g}")
    if layer.driven is not None and not DRIVEN[0] <= layer.driven.active <= DRIVEN[1]:
        problems.append(f"{layer.name}: no current makes 5 to 50 % of it fire, but {layer.driven.active:.1%}")
    return problems


def _gradient_difference(
    gradients: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]
) -> tuple[str, float, float]:
    """The worst tensor by the judged measure, its difference relative to its own largest, and judged."""
    largest = {name: float(g.abs().max()) for name, g in expected.items() if g is not None and g.numel()}
    floor = GRADIENT_FLOOR * max(largest.values(), default=0.0)
    worst, relative, judged = "", 0.0, 0.0
    for name, want in expected.items():
        got = gradients[name]
        if got is None or want is None:
            if got is not want:
                return name, float("inf"), float("inf")
            continue
        error = float((got - want).abs().max()) if got.numel() else 0.0
        scale = max(largest.get(name, 0.0), floor)
        measure = error / scale if scale > 0 else error
        if not measure <= judged:
            worst, judged = name, measure
            relative = error / largest[name] if largest[name] > 0 else error
    return worst, relative, judged


def _versions(backend: str, registry: Registry) -> dict[str, str]:
    """The versions of torch, of the library and of the plugin."""
    versions = {"torch": str(torch.__version__)}
    component = registry.components("backend").get(backend)
    if component is not None:
        plugin, _, version = registry.owner("backend", backend).partition(" ")
        versions[plugin] = version
        for library in component.requires:
            try:
                versions[library] = importlib.metadata.version(library)
            except importlib.metadata.PackageNotFoundError:  # its distribution has another name
                versions[library] = "unknown"
    return versions


def _lines(comparison: Comparison) -> list[str]:
    """The comparison as text: a line a backend, a line a layer, and what is different."""
    data = f" ({comparison.data})" if comparison.data else ""
    lines = [f"{comparison.samples} samples{data}, compared with {comparison.reference}"]
    if comparison.synthetic:
        lines.insert(0, "SYNTHETIC data: this compares backends, and nothing with a paper")
    if comparison.empty:
        lines.append(
            f"Less than 1 % of the neurons fire in {', '.join(comparison.silent)}: equal spikes prove nothing there. "
            "So each layer is also driven directly, by a current that makes 5 to 50 % fire."
        )
    for backend in comparison.backends:
        versions = ", ".join(f"{name} {version}" for name, version in backend.versions.items())
        lines += [
            "",
            f"{backend.name} ({'exact' if backend.exact else 'inexact'}; {versions}): {backend.verdict}",
            f"  time {backend.milliseconds:.1f} ms (x{backend.time_ratio:.2f}), logits {backend.logit_difference:.2g}, "
            f"probabilities {backend.probability_difference:.2g}, gradients {backend.gradient_difference:.2g}"
            + (f" ({backend.worst_gradient})" if backend.worst_gradient else ""),
        ]
        for layer in backend.layers:
            lines.append(
                f"  {layer.name}: {layer.mismatches} of {layer.spikes} spikes differ, by itself "
                f"{_found(layer.alone)}; rate {layer.rate:.4f}, {layer.active:.1%} of the neurons fire"
            )
            if layer.driven is not None:
                lines.append(
                    f"    driven: {_found(layer.driven)}, gradients {layer.driven.gradient_difference:.2g}; "
                    f"rate {layer.driven.rate:.4f}, {layer.driven.active:.1%} of the neurons fire"
                )
        lines += [f"  different: {problem}" for problem in backend.problems]
    lines += ["", f"verdict: {comparison.verdict}"]
    return lines


def _found(found: LayerProbe) -> str:
    agreed = found.agreement
    return f"{agreed.mismatches} ({agreed.mismatches - agreed.beyond} within rounding)" if agreed.mismatches else "0"
