"""Trace a model into a chain of modules that NIR has nodes for, by running it; refuse anything else by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import UserError
from neurozoo.nn.steps import as_steps
from neurozoo.nn.synapses import Normalised

__all__ = ["Link", "Traced", "folded", "sample_batch", "trace", "unpadded"]

NODES = (SpikingLayer, nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool2d)
"""The modules that are nodes of a graph."""


@dataclass(frozen=True)
class Link:
    """A module that becomes a node, or a layer of neurons that becomes several.

    Attributes:
        name: Dotted name of the module.
        module: The module.
        source: Index of the link whose output it gets; None for the graph's input.
        given: Shape of its input at one step, without T and B.
        made: Shape of its output at one step.
        firing: What went through a layer of neurons; None for other modules.
    """

    name: str
    module: nn.Module
    source: int | None
    given: tuple[int, ...]
    made: tuple[int, ...]
    firing: Firing | None = None

    @property
    def layer(self) -> SpikingLayer:
        """The module of a layer of neurons."""
        assert isinstance(self.module, SpikingLayer)
        return self.module

    @property
    def fired(self) -> Firing:
        """What went through a layer of neurons."""
        assert self.firing is not None
        return self.firing


@dataclass(frozen=True)
class Traced:
    """A model as a graph, and what went through it.

    Attributes:
        links: In the order in which they ran; the last is the graph's output.
        signal: The signal that is its input.
        inputs: ``[T, B, *shape]``.
        held: T, where the input is the same at each step; None where positions are steps.
    """

    links: tuple[Link, ...]
    signal: str
    inputs: Tensor
    held: int | None

    @property
    def neurons(self) -> list[Link]:
        """The links that are layers of neurons that fire, in order."""
        return [link for link in self.links if isinstance(link.module, SpikingLayer) and link.module.spec.spiking]


def sample_batch(problem: Problem) -> Batch:
    """Return two synthetic samples of a few steps, without padding, to trace a model with."""
    steps = {name: shape if shape.length < 4 else replace(shape, length=4) for name, shape in problem.signals.items()}
    return unpadded(made_up({name: replace(shape, ragged=False) for name, shape in steps.items()}, problem.task, 2, 0))


def unpadded(batch: Batch) -> Batch:
    """Return the same samples with padding as steps, as another program sees them."""
    return Batch({name: Signal(signal.values) for name, signal in batch.signals.items()})


@dataclass(frozen=True)
class _Call:
    """A call of a layer of neurons, or of a module outside of all of them; it keeps the tensors' memory from reuse."""

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor
    steps: int | None

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of input and output at one step."""
        if isinstance(self.module, SpikingLayer):
            return tuple(self.given.shape[1 if self.steps is not None else 2 :]), tuple(self.made.shape[2:])
        axes = 1 if isinstance(self.module, nn.Linear) else 2 if isinstance(self.module, nn.Conv1d) else 3
        return tuple(self.given.shape[-axes:]), tuple(self.made.shape[-axes:])


@torch.no_grad()
def trace(model: Model, batch: Batch) -> Traced:
    """Run a model on a batch, and follow each tensor from the module that makes it to the one that gets it.

    Args:
        model: In evaluation mode; its buffers are restored.
        batch: Samples without padding.

    Raises:
        UserError: Something between two layers is no node of NIR, or there are several inputs or outputs; names them.
    """
    calls: list[_Call] = []
    layers = neuron_layers(model)
    with ExitStack() as undo, frozen_statistics(model), recorded(model) as firings:
        for name, module in model.named_modules():
            inside = any(name.startswith(f"{layer}.") for layer in layers)
            if name in layers or not (inside or next(module.children(), None)):
                undo.callback(module.register_forward_hook(_note(name, calls), with_kwargs=True).remove)
        model(batch)
    signals = {name: as_steps(model.signal(batch, name))[0] for name in batch.signals}
    makers = {call.made.data_ptr(): f"{call.name} ({type(call.module).__name__})" for call in reversed(calls)}
    links: list[Link] = []
    places: dict[int, int] = {}
    signal, held = "", None
    for call in calls:
        if not isinstance(call.module, NODES):
            continue
        source = places.get(call.given.data_ptr())
        if source is None:
            signal = _signal_of(call, signals, makers)
            held = call.steps if call.steps is not None else held
        places[call.made.data_ptr()] = len(links)
        given, made = call.shapes()
        links.append(Link(call.name, call.module, source, given, made, firings.get(call.name)))
    if not any(isinstance(link.module, SpikingLayer) for link in links):
        raise UserError(f"{type(model).__name__} has no layer of neurons, so there is nothing to export")
    read = {link.source for link in links}
    ends = [link.name for place, link in enumerate(links) if place not in read]
    if len(ends) > 1:
        raise UserError(f"several layers are read by none of the others ({', '.join(ends)}); a graph has one output")
    x = signals[signal]
    steps = next(len(link.firing.spikes) for link in links if link.firing is not None)
    inputs = x[:1].expand(steps, *x.shape[1:]) if held is not None else x
    return Traced(tuple(links), signal, inputs, held)


def _note(name: str, calls: list[_Call]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(given, Tensor) and isinstance(output, Tensor):
            calls.append(_Call(name, module, given, output, kwargs.get("steps")))

    return hook


def _signal_of(call: _Call, signals: Mapping[str, Tensor], makers: Mapping[int, str]) -> str:
    """The signal that a module gets unchanged; UserError where it gets something else."""
    for name, steps in signals.items():
        whole = call.given if call.steps is None else call.given[None]
        expected = steps if call.steps is None else steps[:1]
        if whole.shape == expected.shape and torch.equal(whole, expected):
            return name
    maker = makers.get(call.given.data_ptr())
    made = f"what {maker} makes" if maker else "what is computed of other tensors, such as a sum or a product"
    raise UserError(
        f"{call.name} ({type(call.module).__name__}) gets {made}, for which NIR has no node; a graph is made of layers "
        "of neurons, linears, convolutions and average pooling, one behind the other"
    )


@torch.no_grad()
def folded(model: Model) -> Model:
    """Return a copy whose weights and biases have taken up normalisation; the model itself where there is none.

    It is what a simulator or a chip runs, equal to the model in evaluation mode up to rounding.
    """
    layers = neuron_layers(model)
    if not any(_foldable(layer) for layer in layers.values()):
        return model
    # A library's neuron may not be copied.
    copied = copy.deepcopy(model, {id(layer.neuron): layer.neuron for layer in layers.values()})
    for layer in neuron_layers(copied).values():
        if _foldable(layer):
            layer.synapse = _without_norm(layer.synapse)
    return copied


def _foldable(layer: SpikingLayer) -> bool:
    return type(layer.synapse) is Normalised and isinstance(layer.synapse.weight, nn.Linear | nn.Conv1d | nn.Conv2d)


def _without_norm(synapse: Any) -> nn.Module:
    norm, made = synapse.norm, synapse.weight
    # In float64, so that each weight is rounded once.
    gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    before = 0.0 if made.bias is None else made.bias.double()
    bias = norm.bias.double() + (before - norm.running_mean.double()) * gain
    made.weight.copy_(made.weight.double() * gain.view(-1, *[1] * (made.weight.dim() - 1)))
    made.bias = nn.Parameter(bias.to(made.weight.dtype))
    folded: nn.Module = made
    return folded
