"""What published models do that corrected ones do not, measured: neighbours, padding, luck, silence, dead weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.model import Model, trained_modules
from neurozoo.core.published import Variant
from neurozoo.core.recording import frozen_statistics, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UnknownNameError
from neurozoo.models.by_name import Form, form_of_now, variants
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.by_name import create_model
from neurozoo.training.initialisation import initialise_fluctuation_driven

__all__ = ["RATE", "MeasuredForm", "made_up_input", "measure_form", "measure_published", "smallest_sizes"]

SAMPLES = 4
"""Samples of a batch of made-up inputs."""
RATE = 0.15
"""Rate that the zoo's initialisation aims at, in spikes a step."""
FEATURES = 12
"""So many numbers at a position are features, and more are spike trains."""
SPIKES, COUNTS = 0.05, 0.2
"""Rate of made-up spike trains, in spikes a step; mean of made-up counts of an event frame."""

_FRAMES: Mapping[str, Any] = {"inputs": (2, 64, 64), "length": 8}
REDUCED: Mapping[str, Mapping[str, Any]] = {
    "spikegpt-18-768": {"outputs": 256, "length": 64, "depth": 2},
    "plif-net-dvs128-gesture": _FRAMES,
    "qkformer-2-256-dvs": _FRAMES,
    "sew-resnet-dvs128-gesture": {"length": 8},
    "spike-driven-transformer-2-256-dvs": _FRAMES,
    "spikformer-2-256-dvs": _FRAMES,
}
"""What is smaller than published, for sizes that take too long."""


@dataclass(frozen=True)
class MeasuredForm:
    """One form of a published model, in a published size, at initialisation, on SYNTHETIC inputs.

    Differences are of the outputs in evaluation, the largest one in deviations of the outputs over samples.

    Attributes:
        name: The published size.
        model: Name of the model.
        form: ``published``, with the framework's initialisation, or ``corrected``, with the zoo's.
        parameters: Learnable parameters.
        dead: Of those, the ones that get no gradient from a batch; with the ones of the authors' that are not built
            here, if the form is the published one.
        neighbours: Difference of a sample alone from the same in a batch.
        padding: Difference by padding of the batch; None for signals that have none.
        luck: Difference of two evaluations.
        lowest: Lowest rate of a layer in training mode, in spikes a step, and the layer.
        highest: The same of the highest.
    """

    name: str
    model: str
    form: Form
    parameters: int
    dead: int
    neighbours: float
    padding: float | None
    luck: float
    lowest: tuple[float, str]
    highest: tuple[float, str]


def smallest_sizes(registry: Registry | None = None) -> dict[str, str]:
    """Return the published size with the fewest parameters of each model, by the model's name."""
    found: dict[str, tuple[int, str]] = {}
    for name, model, size in variants(registry):
        found[model] = min(found.get(model, (size.parameters, name)), (size.parameters, name))
    return {model: name for model, (_, name) in found.items()}


def made_up_input(size: Variant, samples: int, generator: torch.Generator) -> Tensor:
    """Draw SYNTHETIC inputs ``[B, L, *shape]`` of a published size.

    Pictures, features and series are normal, series with a level and a slope; frames are counts, trains are spikes.
    """
    lead = (samples, size.length)
    if not size.shape:
        return torch.randint(0, size.outputs, lead, generator=generator)
    values = torch.randn(*lead, *size.shape, generator=generator)
    if size.task == "regression":
        return values.cumsum(1) + 10 * torch.randn(samples, 1, *size.shape, generator=generator)
    if len(size.shape) == 3 and size.length > 1:
        return torch.poisson(torch.full_like(values, COUNTS), generator=generator)
    if len(size.shape) == 1 and size.shape[0] > FEATURES:
        return (torch.rand(values.shape, generator=generator) < SPIKES).to(values.dtype)
    return values


def measure_form(
    name: str, form: Form, *, backend: str = "torch", seed: int = 0, registry: Registry | None = None
) -> MeasuredForm:
    """Measure one form of a published size."""
    form, registry = form_of_now(form), registry or default_registry()
    sizes = {each: (model, size) for each, model, size in variants(registry)}
    if name not in sizes:
        raise UnknownNameError("published size", name, sizes)
    model_name, size = sizes[name]
    smaller = dict(REDUCED.get(name, {}))
    size = replace(size, **{each: smaller[each] for each in ("outputs", "length") if each in smaller})
    size = replace(size, shape=smaller.get("inputs", size.shape))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create_model(name, form=form, backend=backend, registry=registry, **smaller)
        (signal,) = model.problem.signals
        target = model.problem.task.made_up(
            *((SAMPLES, size.length) if size.per_step else (SAMPLES,)), generator=generator
        )
        batch = Batch({signal: Signal(made_up_input(size, SAMPLES, generator))}, target)
        if form == "corrected":
            initialise_fluctuation_driven(model, batch, RATE)
        rates, dead = _first_step(model, batch)
        neighbours, padding, luck = _differences(model.eval(), batch, signal, size)
    return MeasuredForm(
        name, model_name, form, sum(each.numel() for each in model.parameters()),
        dead + (size.unused if form == "published" else 0), neighbours, padding, luck,
        min((rate, layer) for layer, rate in rates.items()), max((rate, layer) for layer, rate in rates.items()),
    )  # fmt: skip


def _first_step(model: Model, batch: Batch) -> tuple[dict[str, float], int]:
    """Return the rates of the layers in training mode, and the number of parameters without a gradient."""
    assert batch.target is not None
    for _, module in trained_modules(model):
        module.prepare(batch.target)
    with frozen_statistics(model), recorded(model.train()) as firings:
        loss = model.problem.task.loss(model(batch), batch.target)
        for _, module in trained_modules(model):
            for term in module.losses(batch.target).values():
                loss = loss + term
        ran = [layer for layer in spiking_layers(model) if layer in firings]
        rates = {layer: float(firings[layer].spikes.detach().mean()) for layer in ran}
    loss.backward()  # type: ignore[no-untyped-call]
    dead = sum(each.numel() for each in model.parameters() if each.grad is None or not each.grad.any())
    model.zero_grad(set_to_none=True)
    return rates, dead


@torch.no_grad()
def _differences(model: Model, batch: Batch, signal: str, size: Variant) -> tuple[float, float | None, float]:
    """Return what neighbours, padding and luck change; random numbers are drawn the same for the first two.

    In float64, so that another order of summation flips no spike.
    """
    model.double()

    def outputs(values: Tensor, valid: Tensor | None = None, seed: int = 0) -> Tensor:
        torch.manual_seed(seed)
        with frozen_statistics(model):
            found: Tensor = model(Batch({signal: Signal(values, valid)}))
        return found

    values = batch.signals[signal].values
    values = values.double() if values.is_floating_point() else values
    whole = outputs(values)
    scale = float(whole.flatten(1).std(0).mean()) or 1.0

    def difference(one: Tensor, other: Tensor) -> float:
        return float((one - other).abs().max()) / scale

    alone = torch.cat([outputs(values[i : i + 1]) for i in range(len(values))])
    padding = None
    if size.length > 1 and not size.per_step:
        more = torch.cat((values, torch.zeros_like(values[:, : max(size.length // 2, 1)])), 1)
        valid = torch.arange(more.shape[1]).expand(len(values), -1) < size.length
        padding = difference(outputs(more, valid), whole)
    return difference(alone, whole), padding, difference(outputs(values, seed=1), whole)


def measure_published(
    names: Sequence[str] | None = None,
    *,
    backend: str = "torch",
    registry: Registry | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> list[MeasuredForm]:
    """Measure both forms of published sizes, by default of the smallest one of each model."""
    found = []
    for name in names or list(smallest_sizes(registry).values()):
        for form in ("published", "corrected"):
            on_progress(f"{name}, {form}")
            found.append(measure_form(name, form, backend=backend, registry=registry))
    return found
