"""What goes through a model's spiking branches at one fixed threshold, in the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.interfaces import Activation, Batch, ThresholdPolicy, ZooModel
from neurozoo.nn.running import frozen_statistics

__all__ = ["ObservedBranch", "observe"]


@dataclass
class ObservedBranch:
    """A branch's input, and what its layers made of it.

    Attributes:
        inputs: ``[T, P, D]``: P positions (of all samples together) at T steps.
        currents: Of each layer of neurons, ``[T, P, N]``.
        spikes: Of each layer, ``[T, P, N]``.
    """

    inputs: Tensor
    currents: list[Tensor]
    spikes: list[Tensor]


@torch.no_grad()
def observe(model: ZooModel, batch: Batch, threshold: float) -> dict[str, ObservedBranch]:
    """Run the model with ``threshold`` in the place of its policy's, and look at each branch.

    Args:
        model: In evaluation mode; its buffers are as they were afterwards.
        batch: Samples.
        threshold: For all samples, dimensionless.
    """
    watched = {name: _Watched(stages) for name, stages in model.branches_by_name().items()}
    with ExitStack() as undo:
        undo.enter_context(frozen_statistics(model))
        for module in model.modules():
            if isinstance(module, ThresholdPolicy):
                handle = module.register_forward_hook(lambda _module, _args, said: torch.full_like(said, threshold))
                undo.callback(handle.remove)
        for each in watched.values():
            each.begin(undo)
        model(batch)
    return {name: each.found() for name, each in watched.items()}


@dataclass
class _Watched:
    """One branch, while the model runs."""

    stages: Sequence[tuple[nn.Linear, Activation]]
    inputs: list[Tensor] = field(default_factory=list)
    currents: list[Tensor] = field(default_factory=list)
    spikes: list[Tensor] = field(default_factory=list)

    def begin(self, undo: ExitStack) -> None:
        def note_input(_linear: nn.Module, args: tuple[Any, ...]) -> None:
            self.inputs.append(args[0])

        def note_layer(_activation: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            self.currents.append(args[0])
            self.spikes.append(output)

        undo.callback(self.stages[0][0].register_forward_pre_hook(note_input).remove)
        for _, activation in self.stages:
            undo.callback(activation.register_forward_hook(note_layer).remove)

    def found(self) -> ObservedBranch:
        steps = self.currents[0].shape[0]
        # One call for all steps: the input is held. Else the steps are a call each, or the first axis of one.
        given = torch.stack([x.reshape(-1, x.shape[-1]) for x in self.inputs])
        positions = self.currents[0][0, ..., 0].numel()
        if given.shape[:2].numel() == positions:
            inputs = given.reshape(1, positions, -1).expand(steps, -1, -1)
        else:
            inputs = given.reshape(steps, positions, -1)
        return ObservedBranch(
            inputs, [x.flatten(1, -2) for x in self.currents], [x.flatten(1, -2) for x in self.spikes]
        )
