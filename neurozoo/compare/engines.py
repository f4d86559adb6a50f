"""Compare engines on a trained model or a recipe: spikes, outputs and time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from neurozoo.compare.engine_layers import LayerAgreement, calls_of, compare_layer
from neurozoo.compare.entry_points import Plan
from neurozoo.compare.result import Setting
from neurozoo.compare.sources import Source, recipe_source, run_source
from neurozoo.core.engine import Engine
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import NotInstalledError, SpikingError, UserError
from neurozoo.models.engines import use_engine
from neurozoo.operations.profiling import Told
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.loading import load
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training.train import own_random_numbers

__all__ = ["REFERENCE", "EngineComparison", "EngineLayer", "EngineResult", "compare_engines"]

REFERENCE = "dense"
"""The engine that others are compared with."""
CLOSE = 1e-5
"""Largest difference of outputs that are no spikes, as a share of the largest of them."""


@dataclass(frozen=True)
class EngineLayer:
    """One layer on an engine, over all batches.

    Attributes:
        name: Its dotted name.
        kind: Of its neurons.
        runs: See :class:`neurozoo.core.engine.PlannedLayer`.
        parted: Spikes that differ from the reference's in the whole model, where one that differs changes the inputs
            of all that follow.
        alone: The layer on the reference's own inputs; None where the engine does not run it. It is judged by this.
    """

    name: str
    kind: str
    runs: str
    parted: int
    alone: LayerAgreement | None


@dataclass(frozen=True)
class EngineResult:
    """One engine against the reference.

    Attributes:
        name: The engine.
        verdict: ``reference``, ``equivalent`` or ``different``.
        layers: In order of definition.
        output_difference: Largest absolute difference of an output.
        prediction_difference: Largest absolute difference of a prediction, as the task makes it of the output.
        milliseconds: Median time of a forward of one sample alone.
        time_ratio: The reference's time in units of it: how many times as fast it is.
        problems: What makes it different, and where.
    """

    name: str
    verdict: str
    layers: tuple[EngineLayer, ...]
    output_difference: float
    prediction_difference: float
    milliseconds: float
    time_ratio: float
    problems: tuple[str, ...]

    @property
    def near(self) -> int:
        """Spikes that differ within 8 units in the last place of the threshold, each layer on its own inputs."""
        return sum(layer.alone.near for layer in self.layers if layer.alone is not None)


@dataclass(frozen=True)
class EngineComparison:
    """Engines on one model and the same batches.

    Attributes:
        setting: The conditions.
        samples: How many, in all batches.
        batches: How many.
        threads: Of torch.
        engines: All, the reference first.
        refused: Why an engine cannot run the model, by name.
    """

    setting: Setting
    samples: int
    batches: int
    threads: int
    engines: tuple[EngineResult, ...]
    refused: Mapping[str, str]

    @property
    def different(self) -> bool:
        """Whether an engine is not equivalent, or cannot run the model."""
        return bool(self.refused) or any(each.verdict == "different" for each in self.engines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything in plain records."""
        return {"schema": 1, **asdict(self), "different": self.different}


def compare_engines(
    model: Recipe | Path,
    names: Sequence[str] = (REFERENCE, "events"),
    plan: Plan | None = None,
    *,
    registry: Registry | None = None,
    told: Told = lambda what, done, of: None,
) -> EngineComparison:
    """Compare engines on the same weights and samples; neurons without an engine run on the oracle.

    Args:
        model: A checked recipe; or a run folder, a packed one, or the name of a model that comes with neurozoo. Where
            its data is not installed, the samples are made up: spikes and counts with nine of ten numbers 0.
        names: ``dense`` and one or more others.
        plan: How much is compared.
        registry: Where engines are looked up; by default all that is installed.
        told: Gets the progress.

    Raises:
        UserError: An engine is not known, or the model or its data cannot be used.
    """
    registry, plan = registry or default_registry(), plan or Plan()
    if len(names) < 2 or len(set(names)) < len(names) or names[0] != REFERENCE:
        raise UserError(
            f"given were the engines {', '.join(names) or 'none'}; give {REFERENCE} first, which the others are "
            "compared with, then one or more different ones; `neurozoo list engines` has them"
        )
    kinds: dict[str, type[Engine]] = {name: registry.resolve("engine", name) for name in names}
    with own_random_numbers(model if isinstance(model, Recipe) else open_trained(model).recipe):
        source = _source(model, registry, plan)
        samples = [_thinned(batch) if source.view is None else batch for batch in _batches(source, plan)]
        results, refused = _compare(source, samples, kinds, plan, told)
    return EngineComparison(
        source.setting, sum(map(len, samples)), len(samples), torch.get_num_threads(), results, refused
    )


def _source(model: Recipe | Path, registry: Registry, plan: Plan) -> Source:
    if isinstance(model, Recipe):
        return recipe_source(model, "torch", registry=registry, device="cpu")
    try:
        source = run_source(model, registry=registry, device="cpu")
    except NotInstalledError:
        loaded = load(model).check_finite()
        weights = {name: tensor.cpu().clone() for name, tensor in loaded.module.state_dict().items()}
        words = f"{loaded.recipe.data.name} is not installed, so the samples are made up"
        setting = Setting(loaded.recipe.name, words, True, trained=True, run=str(model), device="cpu")
        cpu = torch.device("cpu")
        problem = loaded.module.problem
        return Source(loaded.recipe, problem, weights, None, loaded.decision, cpu, registry, setting)
    return replace(source, setting=replace(source.setting, data=f"{source.setting.data}, split {plan.split}"))


def _batches(source: Source, plan: Plan) -> list[Batch]:
    return source.batches(plan.split, plan.batches, plan.batch_size)


def _thinned(batch: Batch) -> Batch:
    """Return made-up counts of which nine of ten are 0, and none is large; features stay."""
    kept: dict[str, Signal] = {}
    for place, (name, signal) in enumerate(batch.signals.items()):
        x = signal.values
        if not x.is_floating_point() and x.dim() > 2:
            generator = torch.Generator().manual_seed(place)
            x = x.clamp(0, 2) * (torch.rand(x.shape, generator=generator) < 0.1).to(x.dtype)
        kept[name] = Signal(x, signal.valid)
    return replace(batch, signals=kept)


@torch.no_grad()
def _compare(
    source: Source, samples: Sequence[Batch], kinds: Mapping[str, type[Engine]], plan: Plan, told: Told
) -> tuple[tuple[EngineResult, ...], dict[str, str]]:
    """Return the results, the reference first, and why engines refused."""
    reference = source.build("torch").eval()
    models: dict[str, Model] = {REFERENCE: reference}
    plans, refused = {}, {}
    for name in list(kinds)[1:]:
        model = source.build("torch").eval()
        try:
            plans[name] = use_engine(model, name, registry=source.registry)
            models[name] = model
        except SpikingError as error:
            refused[name] = str(error)
    layers = neuron_layers(reference)
    prepared = {
        name: {each.name: kinds[name]().layer(layers[each.name]) for each in plan.layers if each.runs != "dense"}
        for name, plan in plans.items()
    }
    alone: dict[str, dict[str, LayerAgreement]] = {name: {} for name in plans}
    parted: dict[str, dict[str, int]] = {name: dict.fromkeys(layers, 0) for name in plans}
    outputs: dict[str, list[Tensor]] = {name: [] for name in models}
    for done, batch in enumerate(samples):
        told("batches", done, len(samples))
        with frozen_statistics(reference), recorded(reference) as expected, calls_of(reference) as calls:
            outputs[REFERENCE].append(reference(batch))
        for name in plans:
            model = models[name]
            with frozen_statistics(model), recorded(model) as found:
                outputs[name].append(model(batch))
            for layer in layers:
                if layer in found and layers[layer].spec.spiking:
                    parted[name][layer] += int((found[layer].spikes != expected[layer].spikes).sum())
            for layer, run in prepared[name].items():
                if layer in calls:
                    agreement = compare_layer(layers[layer], run, calls[layer])
                    alone[name][layer] = alone[name].get(layer, LayerAgreement()) + agreement
    told("batches", len(samples), len(samples))
    times = _times(models, samples[0], plan.repeats)
    dense = tuple(EngineLayer(name, layer.spec.kind, "dense", 0, None) for name, layer in layers.items())
    results = [EngineResult(REFERENCE, "reference", dense, 0.0, 0.0, times[REFERENCE], 1.0, ())]
    for name, made in plans.items():
        how = {each.name: each.runs for each in made.layers}
        rows = tuple(
            EngineLayer(layer, layers[layer].spec.kind, how[layer], parted[name][layer], alone[name].get(layer))
            for layer in layers
        )
        problems = tuple(problem for row in rows for problem in _problems(row))
        pairs = list(zip(outputs[name], outputs[REFERENCE], strict=True))
        predict = source.task.predict
        results.append(
            EngineResult(
                name,
                "different" if problems else "equivalent",
                rows,
                max(_apart(a, b) for a, b in pairs),
                max(_apart(predict(a), predict(b)) for a, b in pairs),
                times[name],
                times[REFERENCE] / times[name],
                problems,
            )
        )
    return tuple(results), refused


def _problems(row: EngineLayer) -> list[str]:
    found: list[str] = []
    alone = row.alone
    if alone is None:
        return found
    if alone.unordered:
        found.append(
            f"{row.name}: {alone.unordered:,} of {alone.outputs:,} outputs are not the oracle's though its sums run in "
            "the same order"
        )
    if alone.beyond:
        found.append(f"{row.name}: {alone.beyond:,} spikes differ beyond 8 units in the last place of the threshold")
    if alone.difference > CLOSE:
        found.append(f"{row.name}: outputs differ by {alone.difference:.1e} of the largest")
    return found


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().nan_to_num(nan=float("inf")).amax()) if found.numel() else 0.0


def _times(models: Mapping[str, Model], batch: Batch, repeats: int) -> dict[str, float]:
    """Return the median milliseconds of a forward of the first sample alone; the engines take turns."""
    alone = batch.rows(0, 1)
    times: dict[str, list[float]] = {name: [] for name in models}
    for number in range(repeats + 1):
        for name, model in models.items():
            with frozen_statistics(model):
                began = time.perf_counter()
                model(alone)
                if number:  # the first one makes and warms what later ones use
                    times[name].append(1000 * (time.perf_counter() - began))
    return {name: median(each) for name, each in times.items()}
