"""Models that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neurozoo.core.interfaces import Batch, LIFSpec
from neurozoo.core.layer import DynamicThresholdLIF
from neurozoo.errors import SpikingError
from neurozoo.models.smile.model import SMILE
from neurozoo.nn.sequence import tokens
from neurozoo.testing import KITS, Candidate, check

CASES = KITS["model"].cases
SMALL = {"hidden": 10, "spiking_inner": 8, "time_steps": 3}


class Changed(SMILE):
    """A model that does something to its batch, and to its logits."""

    def forward(self, batch: Batch) -> Any:
        return self.after(super().forward(self.before(batch)), batch)

    def before(self, batch: Batch) -> Batch:
        return batch

    def after(self, logits: torch.Tensor, batch: Batch) -> Any:
        return logits


class Squeezes(Changed):
    """One label is no axis to it."""

    def after(self, logits, batch):
        return logits.squeeze(-1)


class OfNoSlots(SMILE):
    """Does not say what fills its slots."""

    slots = {"activation": "neurons"}  # noqa: RUF012


class MasksOfNothing(SMILE):
    """Names no layer."""

    def layer_masks(self, batch):
        return {}


class MasksOfAnother(SMILE):
    """Masks of another modality's length."""

    def layer_masks(self, batch):
        first = next(iter(batch.masks.values()))
        return dict.fromkeys(super().layer_masks(batch), first[:, :1])


class BranchesWithoutEnd(SMILE):
    """Leaves the last activation of each branch out."""

    def branches_by_name(self):
        return {name: stages[:1] for name, stages in super().branches_by_name().items()}


class SpareLayer(SMILE):
    """A spiking layer that nothing runs."""

    def __init__(self, inputs, parts, neuron, standardise, **params):
        super().__init__(inputs, parts, neuron, standardise, **params)
        self.spare = nn.ModuleDict({"audio": DynamicThresholdLIF(neuron(LIFSpec()))})


class VisiblePadding(SMILE):
    """Padding takes part, as published."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params, padding="visible")


class DividesByLength(Changed):
    """Scales by how much of the batch is padding."""

    def after(self, logits, batch):
        return logits * next(iter(batch.masks.values())).double().mean()


class MeanOfNothing(Changed):
    """0 / 0 for a sample without a valid row."""

    def after(self, logits, batch):
        name, mask = next(iter(batch.masks.items()))
        mask = mask[..., None]
        return logits + ((batch.features[name] * mask).sum(1) / mask.sum(1)).mean(1, keepdim=True)


class RanksTheBatch(Changed):
    """Subtracts the mean of the batch."""

    def after(self, logits, batch):
        return logits - logits.mean(0)


class GradientToPadding(Changed):
    """The value of padding is taken out again, its gradient is not."""

    def after(self, logits, batch):
        mean = next(iter(batch.features.values())).mean((1, 2))[:, None]
        return logits + (mean - mean.detach())


class UnusedParameter(SMILE):
    """A layer that an edit left behind."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.gate = nn.Linear(3, 3)


class DeafToTheLast(Changed):
    """Zeroes a modality."""

    def before(self, batch):
        last = list(batch.features)[-1]
        return Batch({m: 0 * x if m == last else x for m, x in batch.features.items()}, batch.masks)


class MembraneInABuffer(Changed):
    """Goes on from the last batch."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.register_buffer("v", torch.zeros(()))

    def after(self, logits, batch):
        self.v = 0.5 * self.v + 0.5 * logits.detach().mean()
        return logits + self.v


class FailsInTraining(Changed):
    """Drops logits and divides by what it dropped."""

    def after(self, logits, batch):
        return logits / (torch.rand_like(logits) > 0.5) if self.training else logits


class CentresByAllRows(Changed):
    """A running mean of the features that padding takes part in."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.register_buffer("mean", torch.zeros(()))

    def before(self, batch):
        if self.training:
            self.mean = torch.stack([x.mean() for x in batch.features.values()]).mean().detach()
        return batch


class AlwaysFloat32(Changed):
    """For the loss, which would take any dtype."""

    def after(self, logits, batch):
        return logits.float()


class ClassWeightsOnTheCPU(Changed):
    """Adds a prior that no `.to` moves."""

    def after(self, logits, batch):
        return logits + torch.zeros(self.inputs.labels, dtype=logits.dtype)


class KeepsItsLogits(Changed):
    """Keeps the graph of the last forward."""

    def after(self, logits, batch):
        self.logits = logits
        return logits


class StatisticsNotSaved(Changed):
    """What it is scaled by is in no checkpoint."""

    def __init__(self, *args, **params):
        super().__init__(*args, **params)
        self.scale = float(torch.rand(()))

    def after(self, logits, batch):
        return logits * self.scale


class NotWhatItSays(SMILE):
    """Its default is out of its bounds."""

    def __init__(self, *args: Any, hidden: int = 10, depth: int = "two", **params: Any) -> None:  # type: ignore[assignment]
        super().__init__(*args, hidden=hidden, **params)


class TiedToABackend(Changed):
    """Scales what another backend than its author's gives."""

    def after(self, logits, batch):
        kinds = {type(module.neuron).__name__ for module in self.modules() if hasattr(module, "neuron")}
        return logits * (1.0 if kinds == {"TorchNeuron"} else 1.001)


WRONG: dict[str, tuple[type[SMILE], ...]] = {
    "gives_logits": (Squeezes, OfNoSlots),
    "spiking_layers_are_described": (MasksOfNothing, MasksOfAnother, BranchesWithoutEnd, SpareLayer),
    "padding_does_not_matter": (VisiblePadding,),
    "more_padding_does_not_matter": (DividesByLength,),
    "absent_modalities_are_survived": (MeanOfNothing,),
    "samples_are_alone": (RanksTheBatch,),
    "no_gradient_reaches_padding": (GradientToPadding,),
    "gradients_reach_every_parameter": (UnusedParameter,),
    "every_input_counts": (DeafToTheLast,),
    "evaluation_leaves_no_trace": (MembraneInABuffer,),
    "training_mode_works": (FailsInTraining,),
    "training_sees_no_padding": (CentresByAllRows,),
    "dtypes_are_kept": (AlwaysFloat32,),
    "stays_on_the_device": (ClassWeightsOnTheCPU,),
    "can_be_copied_after_a_forward": (KeepsItsLogits,),
    "loads_from_a_checkpoint": (StatisticsNotSaved,),
    "parameters_fit_a_recipe": (NotWhatItSays,),
    "any_backend_does": (TiedToABackend,),
}


def run(model: type[SMILE], case: str, **params: Any) -> Any:
    (result,) = check(Candidate("model", model.__name__, model, params={**SMALL, **params}), [case]).results
    return result


def test_every_case_has_something_to_catch() -> None:
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize(("case", "wrong"), [(case, wrong) for case, found in WRONG.items() for wrong in found])
def test_the_case_meant_for_it_catches_it(case: str, wrong: type[SMILE]) -> None:
    result = run(wrong, case)
    assert result.outcome == "failed"
    assert not result.problem.startswith(("AttributeError", "TypeError", "KeyError")), result.problem


@pytest.mark.parametrize("case", [case for case in CASES if case != "parameters_fit_a_recipe"])  # it has **params
def test_what_they_are_made_of_is_right(case: str) -> None:
    result = run(Changed, case)
    assert result.outcome == "passed", result.problem


def test_neurons_that_cannot_be_driven_send_to_the_case_that_says_why() -> None:
    result = run(MasksOfNothing, "samples_are_alone")
    assert result.problem == (
        "its neurons cannot be driven (KeyError: 'branches.audio.activation1'); "
        "look at the case spiking_layers_are_described first"
    )


def test_a_model_that_fails_while_it_is_used_has_not_refused() -> None:
    class Fails(SMILE):
        def forward(self, batch):
            raise SpikingError("the membrane is NaN")

    result = run(Fails, "samples_are_alone")
    assert (result.outcome, result.refused) == ("failed", ())
    assert "the membrane is NaN" in result.problem


def test_a_model_may_refuse_some_roles() -> None:
    class NeedsTwo(SMILE):
        def __init__(self, inputs, *args, **params):
            if len(inputs.spiking) < 2:
                raise SpikingError("it compares two spiking modalities")
            super().__init__(inputs, *args, **params)

    result = run(NeedsTwo, "spiking_layers_are_described")
    assert result.outcome == "passed"
    assert result.refused == ("no context, spiking audio, labels 1: it compares two spiking modalities",)


def test_padding_is_visible_where_its_author_says_so() -> None:
    assert run(SMILE, "padding_does_not_matter").outcome == "passed"
    assert run(SMILE, "padding_does_not_matter", padding="visible").outcome == "failed"


def test_positions_are_what_the_kit_says_they_are() -> None:
    mask = torch.tensor([[False, True, True, False, True]])
    assert tokens(torch.zeros(1, 5, 2), mask).position.tolist() == [[0, 0, 1, 1, 2]]
