"""The spiking branches of SMILE and of spiking-sequence, each a graph at one fixed threshold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.core.layer import Firing
from neurozoo.core.model import Model
from neurozoo.core.recording import frozen_statistics, recorded
from neurozoo.core.signals import Batch
from neurozoo.errors import UserError
from neurozoo.models.smile.branch import SequenceBranch, SpikingBranch
from neurozoo.models.smile.parts import ThresholdPolicy
from neurozoo.nir.export.tracing import INPUT, Link, Traced
from neurozoo.runs.loading import TrainedModel

__all__ = ["branches_of", "input_settings", "left_out_of_branches", "observe", "threshold_of"]

Branch = SpikingBranch | SequenceBranch


def branches_of(model: Model) -> dict[str, Branch]:
    """A model's spiking branches by their modality; empty for other models."""
    return {name.rpartition(".")[2]: module for name, module in model.named_modules() if isinstance(module, Branch)}


@torch.no_grad()
def observe(model: Model, batch: Batch, threshold: float) -> dict[str, Traced]:
    """Run the model with ``threshold`` in place of its policy's; return each branch with what went through it.

    Positions of all samples are together on one axis: inputs are ``[T, P, D]``, spikes ``[T, P, N]``.

    Args:
        model: In evaluation mode; its buffers are restored.
        batch: Samples.
        threshold: For all samples, dimensionless.
    """
    branches = branches_of(model)
    inputs: dict[str, Tensor] = {}
    with ExitStack() as undo, frozen_statistics(model), recorded(model) as firings:
        for module in model.modules():
            if isinstance(module, ThresholdPolicy):
                handle = module.register_forward_hook(lambda _module, _args, level: torch.full_like(level, threshold))
                undo.callback(handle.remove)
        for name, branch in branches.items():
            undo.callback(branch.first.register_forward_pre_hook(_keep(name, inputs), with_kwargs=True).remove)
        model(batch)
    names = {layer: name for name, layer in model.named_modules()}
    found = {}
    for name, branch in branches.items():
        links: list[Link] = []
        x = inputs[name].flatten(1, -2)
        for layer in (branch.first, branch.second):
            fired = _flat(firings[names[layer]], threshold)
            width = x.shape[-1] if not links else links[-1].made[0]
            source = len(links) - 1 if links else INPUT
            links.append(Link(names[layer], layer, (source,), (width,), (fired.spikes.shape[-1],), fired))
        steps = len(links[0].fired.spikes)
        held = steps if isinstance(branch, SpikingBranch) else None
        found[name] = Traced(tuple(links), name, x.expand(steps, -1, -1), held)
    return found


def _keep(name: str, inputs: dict[str, Tensor]) -> Any:
    """A hook that keeps what a layer gets as ``[T, B, ..., D]``; T is 1 where it is held."""

    def hook(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs[name] = args[0][None] if kwargs.get("steps") is not None else args[0]

    return hook


def _flat(firing: Firing, threshold: float) -> Firing:
    currents, spikes = firing.currents.flatten(1, -2), firing.spikes.flatten(1, -2)
    return replace(firing, currents=currents, spikes=spikes, threshold=threshold, valid=None)


def threshold_of(trained: TrainedModel, stated: float | None) -> tuple[float, str]:
    """Return the threshold of all neurons, and its origin in words.

    Raises:
        UserError: The model's policy has none of its own.
    """
    if stated is not None:
        return stated, "stated"
    policies = [module for module in trained.module.modules() if isinstance(module, ThresholdPolicy)]
    bases = {policy.base() for policy in policies}
    (base,) = bases if len(bases) == 1 else (None,)
    named = trained.recipe.model.parts.get("threshold")
    name = named.name if named is not None else type(policies[0]).__name__ if policies else "none"
    if base is None:
        raise UserError(
            f"the threshold policy {name!r} has no threshold of its own, its batches make it; NIR has fixed ones, so "
            "give one with --threshold, such as 1.0"
        )
    learned = any("kappa" in policy.report() for policy in policies)
    return base, f"that of {name!r}" + (" at kappa = 0" if learned else "")


def input_settings(traced: Traced) -> dict[str, str | int]:
    """What the metadata says of how a branch gets its input, and what its output is."""
    if traced.held is None:
        return {
            "input": "the projection of one position a step, valid positions first, from rest at the first",
            "output": "the spikes of each position",
        }
    return {
        "time_steps": traced.held,
        "input": "the projection of one position, held for all steps, from rest",
        "output": "spikes, whose mean over the steps is the firing rate that the rest of the model reads",
    }


def left_out_of_branches(trained: TrainedModel) -> Iterator[str]:
    """What of the model is in no branch, a line each."""
    model = trained.module
    exported = {layer for branch in branches_of(model).values() for layer in (branch.first, branch.second)}
    for name, child in model.named_children():
        part = trained.recipe.model.parts.get(name)
        if exported & set(child.modules()) or not (part or child.state_dict()):
            continue
        inside = list(child.children()) if isinstance(child, nn.ModuleDict) else [child]
        classes = dict.fromkeys(type(each).__name__ for each in inside)
        line = f"{name}: {part.name if part is not None else ', '.join(classes)}"
        if isinstance(child, ThresholdPolicy) and "kappa" in (report := child.report()):
            line += f", which moves the threshold by sample (kappa = {float(report['kappa']):.4g} in these weights)"
        yield line
