"""The kit of representations: the core's own pass it, and each case catches what it is there for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurozoo.core.representation import Representation
from neurozoo.core.signals import Signal, SignalShape
from neurozoo.errors import DataError
from neurozoo.testing import Candidate, RepresentationConformance, check, kit_of, registered

KIT = kit_of("representation")
assert KIT is not None
CASES = KIT.cases


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("bins", {"step": 0.004}),
        ("bins", {"step": 0.004, "steps": 9, "rounding": "nearest", "values": "bits", "valid": "event"}),
        ("frames-by-count", {"events": 7, "valid": "event"}),
        ("frames-by-count", {"frames": 5, "dtype": "uint8"}),
        ("voxel-grid", {"points": 5}),
        ("voxel-grid", {"points": 5, "step": 0.01}),
        ("time-surface", {"step": 0.004, "decay": 0.01}),
        ("crop", {"begin": 0.01, "duration": 0.05}),
        ("downsample", {}),
        ("group-steps", {"count": 3}),
        ("group-steps", {"count": 3, "values": "any"}),
        ("centre", {"over": "channel"}),
        ("centre", {"over": "position"}),
        ("centre", {"over": "sample"}),
        ("delta-counts", {"step": 0.5, "keep_values": True}),
        ("statistics", {}),
        ("statistics", {"keep_values": False}),
    ],
)
def test_those_of_the_core_pass(name: str, params: dict[str, Any]) -> None:
    report = check(registered("representation", name, params))
    report.raise_if_failed()
    assert sum(each.compared for each in report.results) > 100


class Right(Representation):
    """Doubles every number of what is no events."""

    keeps_positions = True

    def __init__(self, *, by: float = 2.0) -> None:
        self.by = by

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is not None:
            raise DataError("it needs numbers")
        return SignalShape(stored.shape, stored.length, "float32", stored.ragged)

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        return Signal(signal.values.float() * self.by, signal.valid)


class OtherDtype(Right):
    def __call__(self, signal, stored):
        return Signal(signal.values.double(), signal.valid)


class LosesTheMask(Right):
    def __call__(self, signal, stored):
        return Signal(signal.values.float())


class ByTheBatch(Right):
    """Scales by the largest of the batch."""

    def __call__(self, signal, stored):
        x = signal.values.float()
        return Signal(x / x.abs().max().clamp(min=1e-6), signal.valid)


class SeesPadding(Right):
    """Scales by the mean of all positions, padding included."""

    def __call__(self, signal, stored):
        x = signal.values.float()
        return Signal(x - x.flatten(1).mean(1).view(-1, *[1] * (x.dim() - 1)), signal.valid)


class Noisy(Right):
    def __call__(self, signal, stored):
        return Signal(signal.values.float() + torch.rand(()), signal.valid)


class InPlace(Right):
    def __call__(self, signal, stored):
        signal.values[:, :1] = 1
        return Signal(signal.values.float(), signal.valid)


class WrongTargets(Right):
    def steps(self, target, stored):
        return Signal(target.values[:, :1], None)


class OutOfOrder(Representation):
    """Turns the time of events around, and leaves them where they are."""

    def __init__(self) -> None:
        pass

    def shape(self, stored: SignalShape) -> SignalShape:
        if stored.sensor is None:
            raise DataError("it needs events")
        return stored

    def __call__(self, signal: Signal, stored: SignalShape) -> Signal:
        time, address = signal.values.unbind(2)
        return Signal(torch.stack([(stored.span or 1) - 1 - time, address], 2), signal.valid)


@pytest.mark.parametrize(
    ("target", "case", "problem"),
    [
        (OtherDtype, "gives_the_shape_it_names", "it gives float64 and names float32"),
        (LosesTheMask, "gives_the_shape_it_names", "ragged is True and valid is None"),
        (OutOfOrder, "gives_the_shape_it_names", "times of a sample fall"),
        (ByTheBatch, "samples_are_alone", "differs among the samples"),
        (SeesPadding, "padding_does_not_matter", "padding changes a valid position"),
        (Noisy, "draws_nothing", "it draws random numbers"),
        (InPlace, "draws_nothing", "it changes the signal in place"),
        (WrongTargets, "targets_follow_or_are_refused", "targets are"),
    ],
)
def test_each_case_catches_what_it_is_there_for(target: type[Any], case: str, problem: str) -> None:
    (found,) = check(Candidate("representation", "wrong", target), [case]).results
    assert found.outcome == "failed"
    assert problem in found.problem


def test_a_right_one_passes_and_says_what_it_refuses() -> None:
    report = check(Candidate("representation", "right", Right))
    report.raise_if_failed()
    assert any("it needs numbers" in refused for each in report.results for refused in each.refused)
    assert set(CASES) == {each.name for each in report.results}


class TestBins(RepresentationConformance):
    name = "bins"
    params = {"step": 0.01}  # noqa: RUF012
