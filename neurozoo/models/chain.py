"""A stepwise model as a chain of stages that run step after step, found by running it on random outputs of its layers.

The model's own ``forward`` stays the only definition. It runs once on a made-up input; each layer of neurons gives
random numbers in place of its own. What a layer gets must follow, to the bit, from what the stage before it gave by a
:class:`Link`: the same in another shape, a number of steps later, or sums of neighbours. The answer must be the model's
readout of what the last one gave. Everything else needs more than the past, such as the reverse of a sequence, and is
refused by name.

Layers may run longer than the signal: on silence that a model adds, or on the inputs that their delays keep. A stream
runs these late steps for the answer of a signal that ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer, Synapse
from neurozoo.core.model import Model
from neurozoo.core.neuron import State
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import SpikingError
from neurozoo.models.stepwise import Stepwise
from neurozoo.nn.steps import as_steps, last_steps, read_out

__all__ = ["Chain", "Link", "Stage", "chain_of"]

_STEPS, _SAMPLES = 7, 2
_Merge = Literal["sum", "mean"]
_MERGES: tuple[_Merge, ...] = ("sum", "mean")


@dataclass(frozen=True)
class Link:
    """How a stage's inputs follow from the outputs of the one before.

    Attributes:
        later: Steps by which they come later, zeros before.
        of: Number of neighbours that are merged to one.
        how: To their ``sum`` or ``mean``.
    """

    later: int = 0
    of: int = 1
    how: _Merge = "sum"

    def merge(self, x: Tensor) -> Tensor:
        """Return ``[..., F]`` of ``[..., of F]``."""
        if self.of == 1:
            return x
        parts = x.unflatten(-1, (-1, self.of))  # type: ignore[no-untyped-call]
        merged: Tensor = parts.sum(-1) if self.how == "sum" else parts.mean(-1)
        return merged


@dataclass(frozen=True)
class Stage:
    """A layer of neurons, or a module without state, such as a pool.

    Attributes:
        name: Dotted name.
        module: The module, with its weights.
        given: Shape of its input at a step, without T and B.
        made: Shape of its output likewise.
        threshold: Of a layer, as its model gives it: a float, or a tensor that all steps and samples share.
        start: State of a layer before the first step, of one sample; None for rest.
        link: How its inputs follow from the outputs of the stage before, or from the signal.
        late: Number of its steps after the last one of the signal.
    """

    name: str
    module: nn.Module
    given: tuple[int, ...]
    made: tuple[int, ...]
    threshold: Tensor | float = 1.0
    start: State | None = None
    link: Link = Link()
    late: int = 0


@dataclass(frozen=True)
class Chain:
    """A model's stages, in order.

    Attributes:
        model: The model.
        stages: One at least.
        link: How the outputs that are read follow from those of the last stage.
        late: Number of steps after the last one of a signal that its answer needs.
    """

    model: Stepwise
    stages: tuple[Stage, ...]
    link: Link
    late: int


@dataclass(frozen=True)
class _Call:
    name: str
    module: nn.Module
    x: Tensor
    y: Tensor


@torch.no_grad()
def chain_of(model: Model) -> Chain:
    """Return the chain of a model in evaluation mode; an engine may run its layers.

    Raises:
        SpikingError: It is none: its positions are no steps, or something between two layers needs other steps.
    """
    kind = type(model).__name__
    if not isinstance(model, Stepwise) or model.held:
        why = "reads pictures, which have one position" if isinstance(model, Stepwise) else "reads a sample whole"
        raise SpikingError(f"{kind} cannot run step by step: it {why}; choose a model whose steps are positions")
    if any(each.device.type != "cpu" or each.dtype != torch.float32 for each in model.parameters()):
        raise SpikingError(f"{kind} cannot run step by step here: its weights are not float32 on the CPU")
    generator = torch.Generator().manual_seed(0)
    shape = model.problem.signals[model.name]
    x = torch.rand(_SAMPLES, _STEPS, *shape.shape, generator=generator) < 0.5
    values = x.to(getattr(torch, shape.dtype))
    batch = Batch({model.name: Signal(values)})
    calls: list[_Call] = []
    fired: dict[str, Firing] = {}
    made: dict[str, Tensor] = {}
    layers = neuron_layers(model)

    def other(name: str, firing: Firing) -> Tensor:
        fired[name] = firing
        drawn = torch.rand(firing.spikes.shape, generator=generator).to(firing.spikes)
        made[name] = (drawn < 0.5).to(drawn) if layers[name].spec.spiking else drawn - 0.5
        if name == model.reading.reached:
            made[name][:2] = 0  # so that the readout shows that it waits for the first spike
        return made[name]

    with ExitStack() as undo, frozen_statistics(model), recorded(model, other):
        for name, module in _stages(model):
            undo.callback(module.register_forward_hook(_noted(name, calls), with_kwargs=True).remove)
        answer = model(batch)
    current = as_steps(model.signal(batch, model.name))[0].reshape(_STEPS, _SAMPLES, -1)
    stages: list[Stage] = []
    for call in calls:
        before = stages[-1].name if stages else f"the signal {model.name}"
        rows = _by_step(call.x, len(current))
        link = None if rows is None else _link(current, rows)
        if rows is None or link is None:
            raise SpikingError(
                f"{kind} cannot run step by step: {call.name} gets something else than what {before} gives at a step"
            )
        synapse = call.module.synapse if isinstance(call.module, SpikingLayer) else None
        over_time = isinstance(synapse, Synapse) and synapse.over_time
        if isinstance(synapse, Synapse) and over_time and synapse.by_window() is None:
            raise SpikingError(f"{kind} cannot run step by step: {call.name} needs all steps at once")
        outputs = _by_step(call.y, len(rows))
        if outputs is None or (len(outputs) != len(rows) and not over_time):
            raise SpikingError(f"{kind} cannot run step by step: {call.name} changes the number of steps")
        stages.append(_stage(call, len(rows), link, len(outputs) - _STEPS, fired.get(call.name), kind))
        current = outputs
    found = _reads(model, current, answer, made) if stages else None
    if found is None:
        last = stages[-1].name if stages else "the signal"
        raise SpikingError(f"{kind} cannot run step by step: its answer is no readout of what {last} gives at a step")
    late = model.reading.first if model.problem.task.per_step else stages[-1].late
    return Chain(model, tuple(stages), found, late)


def _stages(model: Stepwise) -> list[tuple[str, nn.Module]]:
    """The layers of neurons, and modules without children outside of them."""
    layers = neuron_layers(model)
    found = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{each}.") for each in (*layers, "standardise"))
        if name in layers or not (inside or any(True for _ in module.children())):
            found.append((name, module))
    return found


def _noted(name: str, calls: list[_Call]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        x = args[0] if args else None
        if isinstance(x, Tensor) and isinstance(output, Tensor) and output is not x:  # dropout gives what it gets
            calls.append(_Call(name, module, x, output))

    return hook


def _by_step(x: Tensor, steps: int) -> Tensor | None:
    """Return ``[T, B, ...]``, or rows of both, as ``[T, B, F]``, T at least ``steps``; None if it is neither."""
    if len(x) == steps * _SAMPLES:
        return x.reshape(steps, _SAMPLES, -1)
    if x.dim() > 1 and x.shape[1] == _SAMPLES and len(x) >= steps:
        return x.reshape(len(x), _SAMPLES, -1)
    return None


def _link(current: Tensor, x: Tensor) -> Link | None:
    """Return how inputs ``[T', B, F']`` follow from ``[T, B, F]`` and silence after them; None if they do not."""
    of = current.shape[2] // max(x.shape[2], 1)
    if not of or of * x.shape[2] != current.shape[2]:
        return None
    whole = torch.cat((current, current.new_zeros(len(x) - len(current), *current.shape[1:])))
    for later in range(len(current)):
        shifted = torch.cat((torch.zeros_like(whole[:later]), whole[: len(whole) - later]))
        for how in _MERGES if of > 1 else _MERGES[:1]:
            link = Link(later, of, how)
            if torch.equal(link.merge(shifted), x.to(shifted.dtype)):
                return link
    return None


def _stage(call: _Call, steps: int, link: Link, late: int, firing: Firing | None, kind: str) -> Stage:
    given, made = (tuple(each.shape[1 if len(each) == steps * _SAMPLES else 2 :]) for each in (call.x, call.y))
    if not isinstance(call.module, SpikingLayer):
        return Stage(call.name, call.module, given, made, link=link, late=late)
    assert firing is not None
    level, start = firing.threshold, firing.start
    if isinstance(level, Tensor) and level.dim():
        if not bool((level == level[:1, :1]).all()):
            raise SpikingError(f"{kind} cannot run step by step: samples or steps of {call.name} differ in threshold")
        level = level[:1, :1]
    if start is not None:
        if any(not torch.equal(each[:1].expand_as(each), each) for each in start):
            raise SpikingError(f"{kind} cannot run step by step: {call.name} starts each sample in another state")
        start = tuple(each[:1].clone() for each in start)
    return Stage(call.name, call.module, given, made, level, start, link, late)


def _reads(model: Stepwise, outputs: Tensor, answer: Tensor, made: Mapping[str, Tensor]) -> Link | None:
    """Return how the numbers that a model reads follow from the last stage's; None if its answer is no readout."""
    reading, number = model.reading, answer.shape[-1]
    of = outputs.shape[2] // number if outputs.shape[2] % number == 0 else 1
    for how in _MERGES if of > 1 else _MERGES[:1]:
        link = Link(0, of, how)
        read = link.merge(outputs)[reading.first :]
        if model.problem.task.per_step:
            found = read[: answer.shape[1]].transpose(0, 1)
        elif reading.reached is not None:
            some = made[reading.reached].flatten(2).amax(2) > 0
            since = torch.cat((torch.zeros_like(some[:1]), some[:-1])).cumsum(0) > 0
            found = read_out(read, since[reading.first :], reading.how)
        elif reading.zero:
            found = read.amax(0).clamp(min=0)
        else:
            found = read_out(last_steps(read, None, reading.last)[0], None, reading.how)
        if torch.equal(answer, found):
            return link
    return None
