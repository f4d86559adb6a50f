"""A model's layers with their shapes, parameters and operations, without data and without training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Fed

__all__ = ["LayerSummary", "ModelSummary", "summarise"]


@dataclass(frozen=True)
class LayerSummary:
    """One layer.

    Attributes:
        name: Dotted name.
        module: Its class; of neurons their kind.
        shape: Of its outputs for one sample, ``[T, ...]`` of neurons; None if it has no output tensor.
        parameters: Learnable ones of its own.
        operations: Multiplications with accumulation of a sample if nothing is skipped, of all steps; of neurons the
            membrane updates.
        fed: What a layer with weights is given while every neuron fires at random: ``bits``, ``whole`` numbers or
            ``real`` ones; None of other layers.
    """

    name: str
    module: str
    shape: tuple[int, ...] | None
    parameters: int
    operations: int
    fed: Fed | None = None


@dataclass(frozen=True)
class ModelSummary:
    """A model's layers.

    Attributes:
        layers: Those with weights and those of neurons, in the order in which they ran.
        parameters: All learnable parameters.
        operations: Multiplications with accumulation of a sample, of all steps, if nothing is skipped.
        uncounted: Names of modules with products that no rule counts.
    """

    layers: tuple[LayerSummary, ...]
    parameters: int
    operations: int
    uncounted: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values."""
        return asdict(self)


@torch.no_grad()
def summarise(model: Model) -> ModelSummary:
    """Run a model once, on one sample of made-up values, and return what ran.

    The neurons' outputs are replaced by random spikes, as those of new weights may be silent, and then a sum of spikes
    would look like spikes.
    """
    generator = torch.Generator().manual_seed(0)
    signals = {
        name: Signal(
            torch.zeros(1, shape.length, dtype=torch.int64)
            if shape.dtype == "int64"
            else torch.rand(1, shape.length, *shape.shape, generator=generator)
        )
        for name, shape in model.problem.signals.items()
    }
    shapes: dict[str, tuple[int, ...] | None] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
            shapes.setdefault(name, tuple(output.shape) if isinstance(output, Tensor) else None)

        return hook

    training = model.training
    counter, neurons = OperationCounter(model), neuron_layers(model)

    def fires(name: str, firing: Firing) -> Tensor | None:
        if not neurons[name].spec.spiking:
            return None
        return torch.randint(0, 2, firing.spikes.shape, generator=generator).to(firing.spikes)

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not isinstance(module, nn.ModuleList | nn.ModuleDict) and name:
                stack.callback(module.register_forward_hook(note(name)).remove)
        stack.enter_context(frozen_statistics(model))
        firings = stack.enter_context(recorded(model, fires))
        with counter:
            model.eval()(Batch(signals))
    model.train(training)
    counts = counter.counts(samples=1)
    by_name = {each.name: each for each in counts.layers}
    layers = []
    for name, module in model.named_modules():
        own = sum(each.numel() for each in module.parameters(recurse=False))
        if isinstance(module, SpikingLayer):
            own += sum(each.numel() for each in module.stored.values())
        elif name.endswith(".stored") or (name not in by_name and not own):
            continue
        counted = by_name.get(name)
        work = 0 if counted is None else counted.updates if name in neurons else counted.dense
        shape = _of_one(firings[name].spikes) if name in firings else shapes.get(name)
        kind = neurons[name].spec.kind if name in neurons else type(module).__name__
        fed = None if counted is None else counted.fed
        layers.append(LayerSummary(name or "(itself)", kind, shape, own, work, fed))
    order = {name: place for place, name in enumerate(shapes)}
    layers.sort(key=lambda layer: order.get(layer.name, len(order)))
    parameters = sum(each.numel() for each in model.parameters())
    operations = sum(each.dense for each in counts.layers if each.kind in ("synaptic", "attention"))
    return ModelSummary(tuple(layers), parameters, operations, tuple(each.name for each in counts.uncounted))


def _of_one(spikes: Tensor) -> tuple[int, ...]:
    """Return ``[T, ...]`` of spikes ``[T, 1, ...]``."""
    return (len(spikes), *spikes.shape[2:])
