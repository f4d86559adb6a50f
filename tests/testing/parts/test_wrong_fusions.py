"""Fusions that are wrong on purpose: each case catches the one that it is there for."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.multimodal import Features, Fusion, Layout, Tokens
from neurozoo.errors import SpikingError
from neurozoo.nn.kept import Kept
from neurozoo.nn.sequence import concatenate
from neurozoo.testing import Candidate, ConformanceError, check, kit_of

KIT = kit_of("fusion")
assert KIT is not None
CASES = KIT.cases


class Sound(Fusion):
    """Right: a linear map of each modality's rows, one modality after another."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        names = (*layout.primary, *layout.context)
        self.maps = nn.ModuleDict({name: nn.Linear(layout.hidden, layout.hidden) for name in names})
        self.dropout = nn.Dropout(layout.dropout)

    def forward(self, features: Mapping[str, Features]) -> Tokens:
        return self.finish(concatenate([self.each(name, of) for name, of in features.items()]))

    def each(self, name: str, features: Features) -> Tokens:
        return features.enhanced.with_x(self.dropout(self.maps[name](features.enhanced.x)))

    def finish(self, sequence: Tokens) -> Tokens:
        return sequence


class FloatMask(Sound):
    """Its mask is of 0 and 1."""

    def finish(self, sequence):
        return Tokens(sequence.x, None if sequence.mask is None else sequence.mask.float(), sequence.position)


class OnOfTheOthers(Sound):
    """Its mask is that of another sequence."""

    def finish(self, sequence):
        return Tokens(sequence.x, None if sequence.mask is None else sequence.mask[:, 1:], sequence.position)


class FloatPosition(Sound):
    """Its positions are relative times."""

    def finish(self, sequence):
        return Tokens(sequence.x, sequence.mask, sequence.position / sequence.x.shape[1])


class PositionsFromOne(Sound):
    """The last position is as large as the sequence is long."""

    def finish(self, sequence):
        return Tokens(sequence.x, sequence.mask, torch.arange(1, sequence.x.shape[1] + 1)[None])


class AllMaskedOut(Sound):
    """Says that nothing counts."""

    def finish(self, sequence):
        mask = torch.zeros(sequence.x.shape[:2], dtype=torch.bool)
        return Tokens(sequence.x, mask, sequence.position)


class TooWide(Sound):
    """Puts the modalities side by side."""

    def finish(self, sequence):
        return sequence.with_x(torch.cat([sequence.x, sequence.x], dim=-1))


class IgnoresMasks(Sound):
    """Says that padding counts."""

    def finish(self, sequence):
        return Tokens(sequence.x, None, torch.arange(sequence.x.shape[1])[None])


class PoolsOverPadding(Sound):
    """Adds the mean over all rows."""

    def finish(self, sequence):
        return sequence.with_x(sequence.x + sequence.x.mean(1, keepdim=True))


class DividesByLength(Sound):
    """Adds the sum over valid rows, divided by the length with padding."""

    def finish(self, sequence):
        x = sequence.x if sequence.mask is None else sequence.x * sequence.mask[..., None]
        return sequence.with_x(sequence.x + x.mean(1, keepdim=True))


class CountsFromTheFirstRow(Sound):
    """Its positions are places, padding included."""

    def finish(self, sequence):
        return Tokens(sequence.x, sequence.mask, torch.arange(sequence.x.shape[1])[None])


class AnotherWayWithoutMasks(Sound):
    """Centres the sequence only where there is no mask."""

    def finish(self, sequence):
        return sequence if sequence.mask is not None else sequence.with_x(sequence.x - sequence.x.mean(1, keepdim=True))


class MeanOfNothing(Sound):
    """Divides by the number of valid rows."""

    def each(self, name, features):
        found = super().each(name, features)
        if found.mask is None:
            return found
        mask = found.mask[..., None]
        return found.with_x(found.x - (found.x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True))


class BatchSoftmax(Sound):
    """Weighs the samples of a batch against each other."""

    def finish(self, sequence):
        return sequence.with_x(sequence.x * torch.softmax(sequence.x[:, :1], dim=0))


class FirstSampleCounts(Sound):
    """Moves all by what the first sample of the batch has."""

    def finish(self, sequence):
        return sequence.with_x(sequence.x + 1e-6 * sequence.x[:1, :1])


class GradientToPadding(Sound):
    """The value of padding is taken out again, its gradient is not."""

    def finish(self, sequence):
        mean = sequence.x.mean(1, keepdim=True)
        return sequence.with_x(sequence.x + (mean - mean.detach()))


class UnusedParameter(Sound):
    """A layer that an edit left behind."""

    def __init__(self, layout):
        super().__init__(layout)
        self.gate = nn.Linear(layout.hidden, 1)


class DetachedParameter(Sound):
    """A scale that cannot learn."""

    def __init__(self, layout):
        super().__init__(layout)
        self.scale = nn.Parameter(torch.ones(()))

    def finish(self, sequence):
        return sequence.with_x(sequence.x * self.scale.detach())


class TimesNothing(Sound):
    """A bias that is in the graph and has no effect."""

    def __init__(self, layout):
        super().__init__(layout)
        self.bias = nn.Parameter(torch.ones(()))

    def finish(self, sequence):
        return sequence.with_x(sequence.x + 0 * self.bias)


class DropsTheLast(Sound):
    """Leaves a modality out where there are three."""

    def forward(self, features):
        kept = dict(list(features.items())[:2])
        return self.finish(concatenate([self.each(name, of) for name, of in kept.items()]))


class KeepsState(Sound):
    """Adds the mean of the last batch."""

    last: Tensor | float = 0.0

    def finish(self, sequence):
        x = sequence.x + self.last
        self.last = sequence.x.detach().mean()
        return sequence.with_x(x)


class DropsInEvaluation(Sound):
    """F.dropout drops unless told otherwise."""

    def finish(self, sequence):
        return sequence.with_x(nn.functional.dropout(sequence.x, 0.1))


class CountsCalls(Sound):
    """A buffer runs in evaluation mode too."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def finish(self, sequence):
        self.calls += 1
        return sequence


class WritesItsInput(Sound):
    """Zeroes padding in place."""

    def each(self, name, features):
        if features.enhanced.mask is not None:
            with torch.no_grad():
                features.enhanced.x[~features.enhanced.mask] = 0
        return super().each(name, features)


class DividesByWhatItDropped(Sound):
    """Its own dropout divides by a mask of zeros."""

    def finish(self, sequence):
        if not self.training:
            return sequence
        return sequence.with_x(sequence.x / (torch.rand_like(sequence.x) > 0.5))


class BatchNorm(Sound):
    """Its running statistics are of all rows, padding included."""

    def __init__(self, layout):
        super().__init__(layout)
        self.norm = nn.BatchNorm1d(layout.hidden)

    def finish(self, sequence):
        return sequence.with_x(self.norm(sequence.x.transpose(1, 2)).transpose(1, 2))


class AlwaysFloat32(Sound):
    """Gives float32 whatever came in."""

    def finish(self, sequence):
        return sequence.with_x(sequence.x.float())


class MadeOnTheCPU(Sound):
    """Adds a separator that has no device."""

    def finish(self, sequence):
        return sequence.with_x(sequence.x + torch.zeros(1, sequence.x.shape[1], 1, dtype=sequence.x.dtype))


class UnregisteredWeight(Sound):
    """A weight that ``.to`` does not move: a product, which the meta device itself would let pass."""

    def __init__(self, layout):
        super().__init__(layout)
        self.weight = torch.eye(layout.hidden, dtype=torch.float64)

    def finish(self, sequence):
        return sequence.with_x(sequence.x @ self.weight)


class KeepsItsOutput(Sound):
    """Keeps the graph of the last forward."""

    def finish(self, sequence):
        self.last = sequence.x
        return sequence


class RandomButNotSaved(Sound):
    """A random weight that is in no checkpoint."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("weight", torch.rand(layout.hidden), persistent=False)

    def finish(self, sequence):
        return sequence.with_x(sequence.x * self.weight)


class TermPerSample(Sound):
    """Adds a term that is not 0-d."""

    def finish(self, sequence):
        self.kept = Kept()
        self.kept.keep(x=sequence.x, mask=sequence.mask)
        return sequence

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

    def finish(self, sequence):
        return sequence.with_x(sequence.x + self.share)


class LogOfTheShare(Sound):
    """A label that no sample has gets minus infinity."""

    def __init__(self, layout):
        super().__init__(layout)
        self.register_buffer("share", torch.zeros(()))

    def prepare(self, target, valid=None):
        self.share.copy_(target.mean(0).log().min())

    def finish(self, sequence):
        return sequence.with_x(sequence.x + self.share)


class OutOfItsOwnBounds(Sound):
    """Its default is not of its type."""

    def __init__(self, layout: Layout, *, gates: int = 0.5) -> None:  # type: ignore[assignment]
        super().__init__(layout)


class NotAnnotated(Sound):
    """A recipe may give anything."""

    def __init__(self, layout, *, gates=4):
        super().__init__(layout)


WRONG: dict[str, tuple[type[Fusion], ...]] = {
    "gives_a_sequence": (FloatMask, OnOfTheOthers, FloatPosition, PositionsFromOne, AllMaskedOut, TooWide),
    "padding_does_not_matter": (IgnoresMasks, PoolsOverPadding),
    "more_padding_does_not_matter": (DividesByLength, CountsFromTheFirstRow),
    "no_mask_is_a_full_mask": (AnotherWayWithoutMasks,),
    "absent_signals_are_survived": (MeanOfNothing,),
    "samples_are_alone": (BatchSoftmax, FirstSampleCounts),
    "no_gradient_reaches_padding": (GradientToPadding,),
    "gradients_reach_every_parameter": (UnusedParameter, DetachedParameter, TimesNothing),
    "every_input_counts": (DropsTheLast,),
    "evaluation_leaves_no_trace": (KeepsState, DropsInEvaluation, CountsCalls, WritesItsInput),
    "training_mode_works": (DividesByWhatItDropped,),
    "training_sees_no_padding": (BatchNorm,),
    "losses_are_terms": (TermPerSample, TermOfRareLabels),
    "losses_see_no_padding": (TermOfPadding,),
    "prepared_once_and_kept": (ShareOutsideTheCheckpoint, LogOfTheShare),
    "dtypes_are_kept": (AlwaysFloat32,),
    "stays_on_the_device": (MadeOnTheCPU, UnregisteredWeight),
    "can_be_copied_after_a_forward": (KeepsItsOutput,),
    "loads_from_a_checkpoint": (RandomButNotSaved,),
    "parameters_fit_a_recipe": (OutOfItsOwnBounds, NotAnnotated),
}


def problem(part: type[Fusion], case: str) -> str:
    (result,) = check(Candidate("fusion", part.__name__, part), [case]).results
    return result.problem if result.outcome == "failed" else ""


def test_every_case_has_something_to_catch() -> None:
    assert set(WRONG) == set(CASES)


@pytest.mark.parametrize(("case", "wrong"), [(case, wrong) for case, found in WRONG.items() for wrong in found])
def test_the_case_meant_for_it_catches_it(case: str, wrong: type[Fusion]) -> None:
    found = problem(wrong, case)
    assert found
    assert not found.startswith(("AttributeError", "TypeError", "KeyError")), found


def test_what_they_are_made_of_is_right() -> None:
    report = check(Candidate("fusion", "sound", Sound))
    report.raise_if_failed()
    assert [result.name for result in report.results] == list(CASES)
    assert {result.outcome for result in report.results} == {"passed"}


class NeedsContext(Sound):
    def __init__(self, layout):
        if not layout.context:
            raise SpikingError("it needs a context")
        super().__init__(layout)


class NeedsTheMoon(Sound):
    def __init__(self, layout):
        raise SpikingError("it needs the moon")


def test_a_layout_may_be_refused_but_not_all() -> None:
    report = check(Candidate("fusion", "choosy", NeedsContext))
    report.raise_if_failed()
    refused = report.results[0].refused
    assert len(refused) == 3
    assert refused[0] == "no context, primary audio, hidden 9, heads 3, outputs 3: it needs a context"
    with pytest.raises(ConformanceError, match=r"it refuses every form, such as .*: it needs the moon"):
        check(Candidate("fusion", "hopeless", NeedsTheMoon)).raise_if_failed()


def test_a_part_that_reads_values_is_not_judged_by_the_meta_device() -> None:
    class Reads(Sound):
        def finish(self, sequence):
            assert sequence.x.sum().item() < 1e9
            return sequence

    (result,) = check(Candidate("fusion", "reads", Reads), ["stays_on_the_device"]).results
    assert result.outcome == "not run"
    assert "it reads values" in result.problem


@pytest.mark.parametrize(
    ("wrong", "case", "words"),
    [
        (FloatMask, "gives_a_sequence", "the mask is torch.float32; it must be bool, or None where every row counts"),
        (UnusedParameter, "gradients_reach_every_parameter", "no gradient reaches the parameter gate.weight: context"),
        (TimesNothing, "gradients_reach_every_parameter", "the gradient is 0, whatever the layout, of: bias"),
        (DropsTheLast, "every_input_counts", "vision does not count in the output: context text, primary audio, vis"),
        (CountsCalls, "evaluation_leaves_no_trace", "changed by a forward in evaluation mode: calls: context text"),
        (DividesByLength, "more_padding_does_not_matter", "0 more padded rows before and 3 after: context text"),
        (CountsFromTheFirstRow, "more_padding_does_not_matter", "valid rows have another position: 0 more padded"),
        (IgnoresMasks, "more_padding_does_not_matter", "the samples have [26, 26, 26, 26], not [17, 17, 17, 17]"),
        (MadeOnTheCPU, "stays_on_the_device", "on the CPU while the input is on another device; make new tensors on"),
        (KeepsItsOutput, "can_be_copied_after_a_forward", "deepcopy after a forward: Only Tensors created explicitly"),
        (OutOfItsOwnBounds, "parameters_fit_a_recipe", "the default of 'gates', 0.5, is not what its annotation"),
        (NotAnnotated, "parameters_fit_a_recipe", "the parameter 'gates' has no annotation"),
    ],
)
def test_a_problem_says_what_and_where(wrong: type[Fusion], case: str, words: str) -> None:
    assert words in problem(wrong, case)
