"""The spiking branches of SMILE and of spiking-sequence, for export at one threshold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from torch import nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer
from neurozoo.core.model import Model
from neurozoo.errors import UserError
from neurozoo.models.smile.branch import SequenceBranch, SpikingBranch
from neurozoo.models.smile.parts import ThresholdPolicy
from neurozoo.runs.loading import TrainedModel

if TYPE_CHECKING:
    from neurozoo.nir.branches import Stage

__all__ = [
    "branches_of",
    "layers_of",
    "left_out_of_branches",
    "neuron_at",
    "setting_text",
    "settings_of",
    "stages_of",
    "threshold_of",
]


KEYS = ("tau", "decay_input", "v_reset", "detach_reset", "surrogate", "alpha")
"""The settings of a neuron that the metadata has."""


def branches_of(model: Model) -> dict[str, SpikingBranch | SequenceBranch]:
    """A model's spiking branches by their modality; none of another model."""
    return {
        name.rpartition(".")[2]: module
        for name, module in model.named_modules()
        if isinstance(module, SpikingBranch | SequenceBranch)
    }


def layers_of(branch: SpikingBranch | SequenceBranch) -> tuple[SpikingLayer, SpikingLayer]:
    """A branch's layers of neurons, in order."""
    return branch.first, branch.second


def neuron_at(layer: SpikingLayer, threshold: float) -> LIFSpec:
    """A layer's neuron, with voltages in the unit of a threshold that it is compared with.

    With ``apply: gain`` the membrane is in units of the threshold, and so is its reset.
    """
    spec = layer.spec
    assert isinstance(spec, LIFSpec)
    return replace(spec, v_reset=spec.v_reset * threshold) if layer.gain and spec.v_reset else spec


def stages_of(
    name: str, branch: SpikingBranch | SequenceBranch, threshold: float, trained: TrainedModel
) -> list[Stage]:
    """A branch's weights and neurons.

    Raises:
        UserError: Its neurons are not LIF.
    """
    from neurozoo.nir.branches import Stage

    found = []
    for layer in layers_of(branch):
        if not isinstance(layer.spec, LIFSpec) or layer.params():
            part = trained.recipe.model.parts.get("activation")
            called = part.name if part is not None else layer.spec.kind
            raise UserError(
                f"the branch {name!r} has the activation {called!r}, which is no LIF at one time constant; spiking "
                "branches are exported as such; export a run whose activation is 'lif'"
            )
        assert isinstance(layer.synapse, nn.Linear)
        found.append(Stage(layer.synapse.weight, layer.synapse.bias, neuron_at(layer, threshold)))
    return found


def threshold_of(trained: TrainedModel, stated: float | None) -> tuple[float, str]:
    """The threshold of all neurons, and why this one.

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


def settings_of(name: str, branch: SpikingBranch | SequenceBranch, stages: Sequence[Stage]) -> dict[str, str | float]:
    """What the metadata says of one branch: its neurons' settings, and how it is presented with its input."""
    how: dict[str, str | float]
    if isinstance(branch, SpikingBranch):
        how = {
            "time_steps": branch.time_steps,
            "input": "the projection of one position, held for all steps, from rest",
            "output": "spikes, whose mean over the steps is the firing rate that the model goes on with",
        }
    else:
        how = {
            "input": "the projection of one position a step, valid positions first, from rest at the first",
            "output": "the spikes of each position",
        }
    layers = [asdict(stage.spec) for stage in stages]
    keys = [*KEYS, *(["tie"] if any(each["tie"] != "fires" for each in layers) else [])]
    neurons = {f"neuron_{key}": ", ".join(dict.fromkeys(setting_text(each[key]) for each in layers)) for key in keys}
    return {"branch": name, **how, **neurons, "neuron_apply": "gain" if branch.first.gain else "threshold"}


def setting_text(value: object) -> str:
    """A setting as a recipe writes it; HDF5 has no null, and programs read its booleans as numbers."""
    return value if isinstance(value, str) else json.dumps(value)


def left_out_of_branches(trained: TrainedModel) -> Iterator[str]:
    """What of the model is in no graph, in words."""
    model = trained.module
    exported = {layer for branch in branches_of(model).values() for layer in layers_of(branch)}
    for name, child in model.named_children():
        part = trained.recipe.model.parts.get(name)
        if exported & set(child.modules()) or not (part or child.state_dict()):
            continue
        inside = list(child.children()) if isinstance(child, nn.ModuleDict) else [child]
        classes = dict.fromkeys(type(each).__name__ for each in inside)
        said = f"{name}: {part.name if part is not None else ', '.join(classes)}"
        if isinstance(child, ThresholdPolicy) and "kappa" in (report := child.report()):
            said += f", which moves the threshold by sample (kappa = {float(report['kappa']):.4g} in these weights)"
        yield said
    yield "surrogate gradients and detach_reset, which matter in training alone (in the metadata)"
    yield "the kind of reset, for which NIR has no field (in the metadata)"
