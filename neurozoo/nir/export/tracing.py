"""Trace a model into a chain of modules that NIR has nodes for, by running it; refuse anything else by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import Firings, frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import UserError
from neurozoo.nir.export.watching import Call, Later, Operation, PlaceMean, Sum, Watch
from neurozoo.nn.steps import as_steps
from neurozoo.nn.synapses import Normalised, NormalisedTokens, PooledSynapse

__all__ = ["INPUT", "Link", "Traced", "folded", "sample_batch", "trace", "trace_network", "unpadded"]

_Net = TypeVar("_Net", bound=nn.Module)
NODES = (SpikingLayer, nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d)
"""The modules that are nodes of a graph."""
INPUT = -1
"""The graph's input as a source of a link."""


@dataclass(frozen=True)
class Link:
    """A module that becomes a node, or a layer of neurons that becomes several.

    Attributes:
        name: Dotted name of the module.
        module: The module.
        sources: Indices of the links whose outputs it gets, added up; :data:`INPUT` for the graph's input.
        given: Shape of its input at one step, without T and B.
        made: Shape of its output at one step.
        firing: What went through a layer of neurons; None for other modules.
    """

    name: str
    module: nn.Module
    sources: tuple[int, ...]
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
        links: In the order in which they ran; the one that no other reads is the graph's output.
        signal: The signal that is its input.
        inputs: ``[T, B, *shape]``.
        held: T, where the input is the same at each step; None where positions are steps.
        run_on: Steps without input at the end, which ``inputs`` has as zeros.
    """

    links: tuple[Link, ...]
    signal: str
    inputs: Tensor
    held: int | None
    run_on: int = 0

    @property
    def end(self) -> int:
        """The link that is the graph's output."""
        return unread(self.links)[0]

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


def unread(links: Sequence[Link]) -> list[int]:
    """Return the links that no other reads."""
    read = {source for link in links for source in link.sources}
    return [place for place in range(len(links)) if place not in read]


@torch.no_grad()
def trace(model: Model, batch: Batch) -> Traced:
    """Run a model on a batch, see :func:`trace_network`.

    Args:
        model: In evaluation mode; its buffers are restored.
        batch: Samples without padding.

    Raises:
        UserError: As of :func:`trace_network`.
    """
    signals = {name: as_steps(model.signal(batch, name))[0] for name in batch.signals}
    return trace_network(model, lambda: model(batch), signals)


@torch.no_grad()
def trace_network(model: nn.Module, run: Callable[[], object], signals: Mapping[str, Tensor]) -> Traced:
    """Run a network, and follow each tensor from the module that makes it to the one that gets it.

    Sums of outputs are followed as well, means over the places of a picture, which are average pooling, and outputs
    that are passed on some steps later.

    Args:
        model: In evaluation mode; its buffers are restored.
        run: Runs it.
        signals: Its inputs as steps by name, ``[T, B, ...]``.

    Raises:
        UserError: Something between two layers is no node of NIR, or there are several inputs or outputs; names them.
    """
    layers, watch = neuron_layers(model), Watch()
    with ExitStack() as undo, frozen_statistics(model), recorded(model) as firings:
        for name, module in model.named_modules():
            inside = any(name.startswith(f"{layer}.") for layer in layers)
            # An empty container is false.
            if name in layers or not (inside or next(module.children(), None) is not None):
                undo.callback(module.register_forward_pre_hook(watch.enter).remove)
                undo.callback(module.register_forward_hook(watch.leave(name), with_kwargs=True).remove)
        undo.enter_context(watch)
        run()
    chain = _Chain(watch.calls, signals, firings)
    links = chain.links
    if not any(isinstance(link.module, SpikingLayer) for link in links):
        raise UserError(f"{type(model).__name__} has no layer of neurons, so there is nothing to export")
    ends = unread(links)
    if len(ends) > 1:
        named = ", ".join(links[end].name for end in ends)
        raise UserError(f"several layers are read by none of the others ({named}); a graph has one output")
    x = signals[chain.signal]
    steps = next(len(link.firing.spikes) for link in links if link.firing is not None)
    inputs = x[:1].expand(steps, *x.shape[1:]) if chain.held is not None else x
    if chain.run_on:
        inputs = torch.cat((x, x.new_zeros(chain.run_on, *x.shape[1:])))
    return Traced(tuple(links), chain.signal, inputs, chain.held, chain.run_on)


class _Chain:
    """Makes links of what was seen.

    Args:
        calls: In order.
        signals: The model's signals as steps, ``[T, B, ...]``.
        firings: What went through the layers of neurons.
    """

    def __init__(self, calls: Sequence[Call], signals: Mapping[str, Tensor], firings: Firings) -> None:
        self.links: list[Link] = []
        self.signal = ""
        self.held: int | None = None  # T, where the input is held
        self.run_on = 0
        self._signals, self._firings = signals, firings
        self._makers = {call.made.data_ptr(): call for call in reversed(calls)}
        self._places: dict[int, tuple[int, ...]] = {}
        for call in calls:
            if isinstance(call.module, NODES):
                self._add(call, self._sources(call))

    def _add(self, call: Call, sources: tuple[int, ...]) -> None:
        self._places[call.made.data_ptr()] = (len(self.links),)
        given, made = call.shapes()
        self.links.append(Link(call.name, call.module, sources, given, made, self._firings.get(call.name)))

    def _sources(self, call: Call) -> tuple[int, ...]:
        """The links that a module gets the sum of; UserError where it gets something else."""
        found = self._found(call.given[0], call.steps)
        if found is not None and len(set(found)) == len(found):
            return found
        raise UserError(
            f"{call.name} ({type(call.module).__name__}) gets {self._described(call.given[0])}, for which NIR has no "
            "node; a graph is made of layers of neurons, linears, convolutions, pooling, sums of their outputs, means "
            "over all places and delays"
        )

    def _found(self, x: Tensor, steps: int | None = None) -> tuple[int, ...] | None:
        """The links whose sum a tensor is; None if it is something else."""
        known, maker = self._places.get(x.data_ptr()), self._makers.get(x.data_ptr())
        if known is not None:
            return known if maker is None or maker.made.numel() == x.numel() else None
        if maker is not None and maker.made.numel() == x.numel():
            sources = (
                [self._passed_on(maker)] if isinstance(maker.module, Later) else list(map(self._found, maker.given))
            )
            if isinstance(maker.module, Sum) and None not in sources:
                return tuple(source for each in sources for source in each or ())
            if isinstance(maker.module, PlaceMean | Later) and sources[0] is not None:
                module = maker.module.pool if isinstance(maker.module, PlaceMean) else maker.module
                self._add(replace(maker, module=module), sources[0])
                return self._places[x.data_ptr()]
        for name, signal in self._signals.items():
            whole, expected = (x, signal) if steps is None else (x[None], signal[:1])
            if len(signal) == 1 < len(whole):  # a picture that is repeated
                expected = signal.expand(len(whole), *signal.shape[1:])
            if whole.shape == expected.shape and torch.equal(whole, expected):
                self.signal = name
                self.held = len(whole) if len(signal) == 1 < len(whole) else steps or self.held
                return (INPUT,)
            if steps is None and x.shape == _merged(signal) and torch.equal(x, signal.flatten(0, 1)):
                self.signal = name  # for a module that gets T and B merged
                return (INPUT,)
            if self._runs_on(whole, signal):
                self.signal, self.run_on = name, len(whole) - len(signal)
                return (INPUT,)
        return None

    @staticmethod
    def _runs_on(x: Tensor, signal: Tensor) -> bool:
        """Whether a tensor is a signal, and steps of zeros after it."""
        longer = x.shape[1:] == signal.shape[1:] and len(x) > len(signal)
        return longer and torch.equal(x[: len(signal)], signal) and not x[len(signal) :].any()

    def _passed_on(self, call: Call) -> tuple[int, ...] | None:
        """The link whose output, but for its last steps, is passed on later; None if it is none."""
        start = call.given[0].data_ptr()
        maker = self._makers.get(start)
        return self._places.get(start) if maker is not None and maker.made.shape == call.made.shape else None

    def _described(self, x: Tensor) -> str:
        """What a tensor is, in words, by the nearest modules that made it."""
        maker = self._makers.get(x.data_ptr())
        if maker is None:
            return "what is computed of other tensors"
        if maker.name and not isinstance(maker.module, Operation):
            return f"what {maker.name} ({type(maker.module).__name__}) makes"
        named = dict.fromkeys(each for given in maker.given for each in self._modules(given, 8))
        return f"the {maker.name} of {', '.join(named) or 'other tensors'}"

    def _modules(self, x: Tensor, deep: int) -> Iterator[str]:
        """The modules that a tensor was computed of."""
        maker = self._makers.get(x.data_ptr())
        if maker is None or not deep:
            return
        if not isinstance(maker.module, Operation):
            yield f"{maker.name} ({type(maker.module).__name__})"
            return
        for given in maker.given:
            yield from self._modules(given, deep - 1)


def _merged(x: Tensor) -> tuple[int, ...]:
    """Return the shape of ``[T, B, ...]`` with T and B merged."""
    return (x.shape[0] * x.shape[1], *x.shape[2:])


@torch.no_grad()
def folded(model: _Net) -> _Net:
    """Return a copy whose weights and biases have taken up normalisation; the model itself where there is none.

    It is what a simulator or a chip runs, equal to the model in evaluation mode up to rounding. A batch norm of torch
    is folded where it follows a convolution or a linear in an ``nn.Sequential``.
    """
    layers = neuron_layers(model)
    if not any(_foldable(module) or any(True for _ in _normed(module)) for module in model.modules()):
        return model
    # A library's neuron may not be copied.
    copied = copy.deepcopy(model, {id(layer.neuron): layer.neuron for layer in layers.values()})
    for layer in neuron_layers(copied).values():
        if _foldable(layer.synapse) and not isinstance(layer.synapse, PooledSynapse):
            layer.synapse = _without_norm(layer.synapse)
    for module in list(copied.modules()):
        if _foldable(module):  # outside of all layers, or followed by a pool
            module.weight = _without_norm(module)
            module.register_module("norm", nn.Identity())
        if isinstance(module, nn.Sequential):
            _fold_in_sequence(module)
    return copied


def _fold_in_sequence(modules: nn.Sequential) -> None:
    for place in list(_normed(modules)):
        weights: Any = modules[place]
        fuse: Any = fuse_linear_bn_eval if isinstance(weights, nn.Linear) else fuse_conv_bn_eval
        modules[place], modules[place + 1] = fuse(weights, modules[place + 1]), nn.Identity()


def _normed(module: nn.Module) -> Iterator[int]:
    """Places in a sequence of modules where a batch norm with statistics follows a convolution or a linear."""
    norms = {nn.Linear: nn.BatchNorm1d, nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}
    if isinstance(module, nn.Sequential):
        for place, (weights, norm) in enumerate(pairwise(module)):
            if isinstance(norm, norms.get(type(weights), ())) and norm.running_mean is not None:
                yield place


def _foldable(synapse: nn.Module | None) -> TypeGuard[Normalised]:
    if not isinstance(synapse, Normalised) or isinstance(synapse, NormalisedTokens):
        return False
    normal: nn.Module = synapse.norm  # an identity where it was folded
    return isinstance(normal, nn.BatchNorm1d) and isinstance(synapse.weight, nn.Linear | nn.Conv1d | nn.Conv2d)


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
