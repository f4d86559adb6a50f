"""What goes through a model's spiking branches at one fixed threshold, in the model itself."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, recorded
from neurozoo.core.signals import Batch
from neurozoo.models.smile.parts import ThresholdPolicy
from neurozoo.nir.export.spiking_branches import branches_of
from neurozoo.nir.export.tracing import Traced

__all__ = ["ObservedBranch", "observe", "observed"]


@dataclass
class ObservedBranch:
    """A branch's input, and what its layers made of it.

    Attributes:
        inputs: ``[T, P, D]``: P positions (of all samples together) at T steps; of a whole model P samples.
        currents: Of each layer of neurons that fire, ``[T, P, N]``.
        spikes: Of each layer, ``[T, P, N]``.
    """

    inputs: Tensor
    currents: list[Tensor]
    spikes: list[Tensor]


@torch.no_grad()
def observe(model: Model, batch: Batch, threshold: float) -> dict[str, ObservedBranch]:
    """Run the model with ``threshold`` in the place of its policy's, and look at each branch.

    Args:
        model: In evaluation mode; its buffers are as they were afterwards.
        batch: Samples.
        threshold: For all samples, dimensionless.
    """
    branches = branches_of(model)
    inputs: dict[str, Tensor] = {}
    with ExitStack() as undo, frozen_statistics(model), recorded(model) as firings:
        for module in model.modules():
            if isinstance(module, ThresholdPolicy):
                handle = module.register_forward_hook(lambda _module, _args, said: torch.full_like(said, threshold))
                undo.callback(handle.remove)
        for name, branch in branches.items():
            undo.callback(branch.first.register_forward_pre_hook(_kept(name, inputs), with_kwargs=True).remove)
        model(batch)
    layers = {id(layer): name for name, layer in model.named_modules()}
    found = {}
    for name, branch in branches.items():
        fired = [firings[layers[id(layer)]] for layer in (branch.first, branch.second)]
        steps, x = len(fired[0].spikes), inputs[name]
        found[name] = _flat(x.flatten(1, -2) if x.dim() > 3 else x, steps, fired)
    return found


def observed(traced: Traced) -> ObservedBranch:
    """What went through a whole model that was traced, in the same form."""
    fired = [link.fired for link in traced.neurons]
    return ObservedBranch(
        traced.inputs, [each.currents.flatten(2) for each in fired], [each.spikes.flatten(2) for each in fired]
    )


def _kept(name: str, inputs: dict[str, Tensor]) -> Any:
    """A hook that keeps what a layer gets as ``[T, B, ..., D]``; T is 1 where it is held."""

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs[name] = args[0][None] if kwargs.get("steps") is not None else args[0]

    return hook


def _flat(inputs: Tensor, steps: int, fired: list[Firing]) -> ObservedBranch:
    return ObservedBranch(
        inputs.expand(steps, -1, -1),
        [each.currents.flatten(1, -2) for each in fired],
        [each.spikes.flatten(1, -2) for each in fired],
    )
