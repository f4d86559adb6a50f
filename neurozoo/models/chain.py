"""A stepwise model as a chain of stages that run step after step, found by running it on random outputs of its layers.

The model's own ``forward`` stays the only definition. It runs once on a made-up input; each layer of neurons gives
random numbers in place of its own. What a layer gets must be, to the bit, what the stage before it gave, perhaps in
another shape; the answer must be the model's readout of what the last one gave. Everything else needs more than the
present step, such as the reverse of a sequence, and is refused by name.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.model import Model
from neurozoo.core.neuron import State
from neurozoo.core.recording import frozen_statistics, neuron_layers, recorded
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import SpikingError
from neurozoo.models.stepwise import Stepwise
from neurozoo.nn.steps import as_steps, last_steps, read_out

__all__ = ["Chain", "Stage", "chain_of"]

_STEPS, _SAMPLES = 7, 2


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
    """

    name: str
    module: nn.Module
    given: tuple[int, ...]
    made: tuple[int, ...]
    threshold: Tensor | float = 1.0
    start: State | None = None


@dataclass(frozen=True)
class Chain:
    """A model's stages, in order.

    Attributes:
        model: The model.
        stages: One at least.
    """

    model: Stepwise
    stages: tuple[Stage, ...]


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
    layers = neuron_layers(model)

    def other(name: str, firing: Firing) -> Tensor:
        fired[name] = firing
        drawn = torch.rand(firing.spikes.shape, generator=generator).to(firing.spikes)
        return (drawn < 0.5).to(drawn) if layers[name].spec.spiking else drawn

    with ExitStack() as undo, frozen_statistics(model), recorded(model, other):
        for name, module in _stages(model):
            undo.callback(module.register_forward_hook(_noted(name, calls), with_kwargs=True).remove)
        answer = model(batch)
    current = as_steps(model.signal(batch, model.name))[0]
    stages: list[Stage] = []
    for call in calls:
        before = stages[-1].name if stages else f"the signal {model.name}"
        if call.x.numel() != current.numel() or not torch.equal(_by_step(call.x), _by_step(current)):
            raise SpikingError(
                f"{kind} cannot run step by step: {call.name} gets something else than what {before} gives at a step"
            )
        inside = 2 if call.x.shape[:2] == (_STEPS, _SAMPLES) else 1
        stages.append(_stage(call, tuple(call.x.shape[inside:]), fired.get(call.name), kind))
        current = call.y
        if call.y.shape[:2] != (_STEPS, _SAMPLES):
            if len(call.y) != _STEPS * _SAMPLES:
                raise SpikingError(f"{kind} cannot run step by step: {call.name} changes the number of steps")
            current = call.y.unflatten(0, (_STEPS, _SAMPLES))  # type: ignore[no-untyped-call]
    if not stages or not _reads(model, current, answer):
        last = stages[-1].name if stages else "the signal"
        raise SpikingError(f"{kind} cannot run step by step: its answer is no readout of what {last} gives at a step")
    return Chain(model, tuple(stages))


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


def _by_step(x: Tensor) -> Tensor:
    return x.reshape(_STEPS, _SAMPLES, -1)


def _stage(call: _Call, given: tuple[int, ...], firing: Firing | None, kind: str) -> Stage:
    if not isinstance(call.module, SpikingLayer):
        made = call.y.shape[2:] if call.y.shape[:2] == (_STEPS, _SAMPLES) else call.y.shape[1:]
        return Stage(call.name, call.module, given, tuple(made))
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
    return Stage(call.name, call.module, given, tuple(call.y.shape[2:]), level, start)


def _reads(model: Stepwise, outputs: Tensor, answer: Tensor) -> bool:
    """Whether an answer is the model's readout of the outputs of all steps."""
    if outputs.dim() != 3:
        return False
    if model.problem.task.per_step:
        return torch.equal(answer, outputs.transpose(0, 1))
    deciding, _ = last_steps(outputs, None, model.answering)
    return torch.equal(answer, read_out(deciding, None, model.readout))
