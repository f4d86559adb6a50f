"""Label heads that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import LabelHead, Layout, Tokens
from neurozoo.nn.kept import Kept
from neurozoo.testing import Candidate, check, kit_of

KIT = kit_of("label-head")
assert KIT is not None
CASES = KIT.cases


class Sound(LabelHead):
    """Right: a linear on the mean over valid rows."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.linear = nn.Linear(layout.hidden, layout.outputs)
        self.dropout = nn.Dropout(layout.dropout)

    def forward(self, sequence: Tokens) -> Tensor:
        mask = torch.ones_like(sequence.x[..., 0], dtype=torch.bool) if sequence.mask is None else sequence.mask
        return self.finish(self.linear(self.dropout(self.pool(sequence.x, mask[..., None]))), sequence)

    def pool(self, x: Tensor, mask: Tensor) -> Tensor:
        return (x * mask).sum(1) / mask.sum(1).clamp(min=1)

    def finish(self, logits: Tensor, sequence: Tokens) -> Tensor:
        return logits


class Squeezes(Sound):
    """One label is no axis to it."""

    def finish(self, logits, sequence):
        return logits.squeeze(-1)


class GivesTokens(Sound):
    """Gives the sequence back."""

    def forward(self, sequence):
        return sequence


class LogOfTheTarget(Sound):
    """Learns from the targets, and takes the logarithm of 0."""

    def forward(self, sequence, target=None):
        logits = super().forward(sequence)
        return logits if target is None else logits + target.log()


class ForgetsTheFirstLabel(Sound):
    """Gives fewer outputs once it is taught."""

    def forward(self, sequence, target=None):
        logits = super().forward(sequence)
        return logits if target is None else logits[:, 1:]


class MeanOfAllRows(Sound):
    """Averages over padding."""

    def pool(self, x, mask):
        return x.mean(1)


class MaxOverPadding(Sound):
    """The largest value may be one of padding."""

    def pool(self, x, mask):
        return x.amax(1)


class DividesByLength(Sound):
    """The sum over valid rows, by the length with padding."""

    def pool(self, x, mask):
        return (x * mask).mean(1)


class TakesTheLastRow(Sound):
    """Adds what stands in the last place, if it is valid: not the last valid row."""

    def pool(self, x, mask):
        return super().pool(x, mask) + x[:, -1] * mask[:, -1]


class AnotherWayWithoutMask(Sound):
    """Takes the sum where nothing is masked."""

    def forward(self, sequence):
        logits = super().forward(sequence)
        return logits if sequence.mask is not None else logits * sequence.x.shape[1]


class MeanOfNothing(Sound):
    """0 / 0 for a sample without a valid row."""

    def pool(self, x, mask):
        return (x * mask).sum(1) / mask.sum(1)


class NaNBackward(Sound):
    """Its value is fine, and its gradient at 0 is not."""

    def pool(self, x, mask):
        return super().pool(x, mask) + (x * mask).square().sum(1).sqrt()


class RanksTheBatch(Sound):
    """A softmax over the samples."""

    def finish(self, logits, sequence):
        return torch.softmax(logits, dim=0)


class GradientToPadding(Sound):
    """The value of padding is taken out again, its gradient is not."""

    def pool(self, x, mask):
        return super().pool(x, mask) + (x.mean(1) - x.mean(1).detach())


class UnusedQueries(Sound):
    """One query a label, and none of them asks."""

    def __init__(self, layout):
        super().__init__(layout)
        self.queries = nn.Parameter(torch.zeros(layout.outputs, layout.hidden))


class PriorAlone(Sound):
    """Learns how frequent the labels are, and looks at nothing."""

    def pool(self, x, mask):
        return super().pool(x, mask).detach()


class FollowsTheBatches(Sound):
    """Subtracts a mean that runs in evaluation too."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("mean", torch.zeros(layout.outputs))

    def finish(self, logits, sequence):
        self.mean = 0.9 * self.mean + 0.1 * logits.detach().mean(0)
        return logits - self.mean


class FailsInTraining(Sound):
    """Divides by a share that may be 0 once rows are dropped."""

    def finish(self, logits, sequence):
        return logits / (torch.rand_like(logits) > 0.5) if self.training else logits


class RunningMeanOfAllRows(Sound):
    """A mean of the input that padding takes part in while it runs."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("mean", torch.zeros(layout.hidden))

    def forward(self, sequence):
        if self.training:
            self.mean = sequence.x.detach().mean((0, 1))
        return super().forward(sequence.with_x(sequence.x - self.mean))


class RunningMeanByLength(RunningMeanOfAllRows):
    """Padding is 0 in its mean, and counts as a row."""

    def forward(self, sequence):
        mask = torch.ones_like(sequence.x[..., 0]) if sequence.mask is None else sequence.mask
        if self.training:
            self.mean = (sequence.x.detach() * mask[..., None]).mean((0, 1))
        return Sound.forward(self, sequence)


class AlwaysFloat32(Sound):
    """For the loss, which would take any dtype."""

    def finish(self, logits, sequence):
        return logits.float()


class ZerosOnTheCPU(Sound):
    """Starts from zeros that have no device."""

    def finish(self, logits, sequence):
        return torch.zeros(logits.shape, dtype=logits.dtype) + logits


class KeepsItsLogits(Sound):
    """Keeps the graph of the last forward."""

    def finish(self, logits, sequence):
        self.logits = logits
        return logits


class BiasOutsideTheCheckpoint(Sound):
    """Its bias is a tensor like any other attribute."""

    def __init__(self, layout):
        super().__init__(layout)
        self.bias = torch.rand(layout.outputs)

    def finish(self, logits, sequence):
        return logits + self.bias


class GrowsABuffer(Sound):
    """Makes a buffer at its first forward, so that a new one does not have it."""

    def finish(self, logits, sequence):
        if not hasattr(self, "seen"):
            self.register_buffer("seen", torch.ones(()))
        return logits


class TermPerSample(Sound):
    """Adds a term that is not 0-d."""

    def finish(self, logits, sequence):
        self.kept = Kept()
        self.kept.keep(x=sequence.x * self.linear.weight.sum(), mask=sequence.mask)
        return logits

    def losses(self, target):
        return {"size": self.kept["x"].square().mean((1, 2))}


class TermOfRareLabels(TermPerSample):
    """Divides by how often each label is there."""

    def losses(self, target):
        return {"size": self.kept["x"].mean() / target.sum(0).min()}


class TermOfPadding(TermPerSample):
    """Its term is of all rows, padding included."""

    def losses(self, target):
        return {"size": self.kept["x"].square().mean()}


class ShareOutsideTheCheckpoint(Sound):
    """Keeps what it learns of the targets in an attribute."""

    share = 0.0

    def prepare(self, target, valid=None):
        self.share = float(target.mean())

    def finish(self, logits, sequence):
        return logits + self.share


class LogOfTheShare(Sound):
    """A label that no sample has gets minus infinity."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("share", torch.zeros(()))

    def prepare(self, target, valid=None):
        self.share.copy_(target.mean(0).log().min())

    def finish(self, logits, sequence):
        return logits + self.share


class NoDefault(Sound):
    """A parameter that whoever names it must give."""

    def __init__(self, layout: Layout, *, temperature: float) -> None:
        super().__init__(layout)


class RefusesItself(Sound):
    """Its own defaults do not go together."""

    def __init__(self, layout: Layout, *, heads: int = 5, hidden: int = 12) -> None:
        super().__init__(layout)

    @staticmethod
    def check_params(*, heads, hidden):
        if hidden % heads:
            yield "heads", f"{heads} heads do not divide {hidden}"


WRONG: dict[str, tuple[type[LabelHead], ...]] = {
    "gives_outputs": (Squeezes, GivesTokens),
    "targets_are_taken": (LogOfTheTarget, ForgetsTheFirstLabel),
    "padding_does_not_matter": (MeanOfAllRows, MaxOverPadding),
    "more_padding_does_not_matter": (DividesByLength, TakesTheLastRow),
    "no_mask_is_a_full_mask": (AnotherWayWithoutMask,),
    "absent_signals_are_survived": (MeanOfNothing, NaNBackward),
    "samples_are_alone": (RanksTheBatch,),
    "no_gradient_reaches_padding": (GradientToPadding,),
    "gradients_reach_every_parameter": (UnusedQueries,),
    "every_input_counts": (PriorAlone,),
    "evaluation_leaves_no_trace": (FollowsTheBatches,),
    "training_mode_works": (FailsInTraining,),
    "training_sees_no_padding": (RunningMeanOfAllRows, RunningMeanByLength),
    "losses_are_terms": (TermPerSample, TermOfRareLabels),
    "losses_see_no_padding": (TermOfPadding,),
    "prepared_once_and_kept": (ShareOutsideTheCheckpoint, LogOfTheShare),
    "dtypes_are_kept": (AlwaysFloat32,),
    "stays_on_the_device": (ZerosOnTheCPU,),
    "can_be_copied_after_a_forward": (KeepsItsLogits,),
    "loads_from_a_checkpoint": (BiasOutsideTheCheckpoint, GrowsABuffer),
    "parameters_fit_a_recipe": (NoDefault, RefusesItself),
}


def test_every_case_has_something_to_catch() -> None:
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize(("case", "wrong"), [(case, wrong) for case, found in WRONG.items() for wrong in found])
def test_the_case_meant_for_it_catches_it(case: str, wrong: type[LabelHead]) -> None:
    (result,) = check(Candidate("label-head", wrong.__name__, wrong), [case]).results
    assert result.outcome == "failed"
    assert not result.problem.startswith(("AttributeError", "TypeError", "KeyError")), result.problem


def test_what_they_are_made_of_is_right() -> None:
    report = check(Candidate("label-head", "sound", Sound))
    report.raise_if_failed()
    assert [result.name for result in report.results] == list(CASES)


def test_a_parameter_without_a_default_is_given_to_the_kit() -> None:
    given = Candidate("label-head", "warm", NoDefault, params={"temperature": 2.0})
    check(given, ["parameters_fit_a_recipe", "gives_outputs"]).raise_if_failed()
    wrong = Candidate("label-head", "warm", NoDefault, params={"temperature": "hot"})
    (result,) = check(wrong, ["parameters_fit_a_recipe"]).failures
    assert result.problem.startswith("the given value of 'temperature', 'hot', is not what its annotation allows: ")
