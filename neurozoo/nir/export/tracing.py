"""What of a model is a graph that NIR can say: found by running it, and refused by name where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.data.manifest import TaskEntry
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import UserError
from neurozoo.nn.steps import as_steps

__all__ = ["Link", "Traced", "sample_batch", "trace"]

NODES = (SpikingLayer, nn.Linear, nn.Conv1d, nn.Conv2d, nn.AvgPool2d)
"""The modules that are nodes of a graph."""


@dataclass(frozen=True)
class Link:
    """A module that becomes a node, or a layer of neurons that becomes several.

    Attributes:
        name: Its dotted name.
        module: The module.
        source: The place among the links of the one whose output it gets; None for the graph's input.
        given: Shape of what it gets at one step, without T and B.
        made: Shape of what it puts out at one step.
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
    """Two made-up samples without padding, of a few steps, to trace a model with."""
    steps = {name: shape if shape.length < 4 else replace(shape, length=4) for name, shape in problem.signals.items()}
    task = TaskEntry(problem.task.name, problem.task.outputs, problem.task.per_step)
    batch = made_up({name: replace(shape, ragged=False) for name, shape in steps.items()}, task, 2, 0)
    return Batch({name: Signal(signal.values) for name, signal in batch.signals.items()})


@torch.no_grad()
def trace(model: Model, batch: Batch) -> Traced:
    """Run a model on a batch, and follow each tensor from the module that makes it to the one that takes it.

    Args:
        model: In evaluation mode; its buffers are as they were afterwards.
        batch: Samples without padding.

    Raises:
        UserError: Something between two layers is no node of NIR, or there are several inputs or outputs; says where.
    """
    run = _Run(model)
    with ExitStack() as undo, frozen_statistics(model), recorded(model) as firings:
        run.listen(undo)
        model(batch)
    signals = {name: as_steps(model.signal(batch, name))[0] for name in batch.signals}
    links: list[Link] = []
    places: dict[int, int] = {}
    signal, held = "", None
    for call in run.calls:
        if not isinstance(call.module, NODES):
            continue
        source = places.get(call.given.data_ptr())
        if source is None:
            signal = _signal_of(call, signals, run.makers)
            held = call.steps if call.steps is not None else held
        places[call.made.data_ptr()] = len(links)
        given, made = call.shapes()
        links.append(Link(call.name, call.module, source, given, made, firings.get(call.name)))
    if not any(isinstance(link.module, SpikingLayer) for link in links):
        raise UserError(f"{type(model).__name__} has no layer of neurons, so there is nothing to export")
    _check_ends(links)
    x = signals[signal]
    steps = next(len(link.firing.spikes) for link in links if link.firing is not None)
    inputs = x[:1].expand(steps, *x.shape[1:]) if held is not None else x
    return Traced(tuple(links), signal, inputs, held)


@dataclass(frozen=True)
class _Call:
    """A call of a module outside of all layers of neurons, or of such a layer."""

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor
    steps: int | None

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes at one step of what came in and of what went out."""
        if isinstance(self.module, SpikingLayer):
            return tuple(self.given.shape[1 if self.steps is not None else 2 :]), tuple(self.made.shape[2:])
        axes = {nn.Linear: 1, nn.Conv1d: 2}.get(type(self.module), 1 if isinstance(self.module, nn.Linear) else 3)
        return tuple(self.given.shape[-axes:]), tuple(self.made.shape[-axes:])


@dataclass
class _Run:
    """The calls of one forward; their tensors are kept, so that no memory is used twice."""

    model: nn.Module
    calls: list[_Call] = field(default_factory=list)
    makers: dict[int, str] = field(default_factory=dict)

    def listen(self, undo: ExitStack) -> None:
        layers = neuron_layers(self.model)
        for name, module in self.model.named_modules():
            inside = any(name.startswith(f"{layer}.") for layer in layers)
            if name in layers or not (inside or next(module.children(), None)):
                undo.callback(module.register_forward_hook(self._note(name), with_kwargs=True).remove)

    def _note(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = args[0] if args else next(iter(kwargs.values()), None)
            if not isinstance(given, Tensor) or not isinstance(output, Tensor):
                return
            self.calls.append(_Call(name, module, given, output, kwargs.get("steps")))
            self.makers.setdefault(output.data_ptr(), f"{name} ({type(module).__name__})")

        return hook


def _signal_of(call: _Call, signals: Mapping[str, Tensor], makers: Mapping[int, str]) -> str:
    """The signal that a module gets as it is.

    Raises:
        UserError: It gets something else.
    """
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


def _check_ends(links: list[Link]) -> None:
    """Refuse a graph whose outputs are several."""
    read = {link.source for link in links}
    ends = [link.name for place, link in enumerate(links) if place not in read]
    if len(ends) > 1:
        raise UserError(f"several layers are read by none of the others ({', '.join(ends)}); a graph has one output")
