"""Augmentations of spike trains and features: along channels and time."""

from __future__ import annotations

import pytest
import torch

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import UserError
from neurozoo.recipe.schema import AugmentRef
from neurozoo.training.augmentation import Augmenter
from neurozoo.training.sequences import MaskChannels, MaskSteps, ShiftChannels, StretchTime, ThinEvents


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def stretched(signal: Signal) -> Signal:
    return StretchTime(most=0.5)(Batch({"spikes": signal}), ["spikes"]).signals["spikes"]


def test_channels_move_in_groups_and_come_in_empty() -> None:
    x = torch.arange(1, 9, dtype=torch.uint8).expand(64, 3, 8)
    found = ShiftChannels(limit=2, group=2).sequence(x)
    assert found.dtype == torch.uint8
    shifts = set()
    for sample in found:
        assert torch.equal(sample[0], sample[2])
        kept = sample[0].nonzero()[:, 0]
        shift = int(kept[0]) - (int(sample[0, kept[0]]) - 1)
        shifts.add(shift)
        assert torch.equal(sample[0, kept], (kept - shift + 1).to(torch.uint8))
        assert len(kept) == 8 - abs(shift)
    assert shifts == {-4, -2, 0, 2, 4}


def test_masks_are_bands_of_whole_groups_and_stretches_of_whole_steps() -> None:
    x = torch.ones(64, 10, 7)
    bands = MaskChannels(width=2, times=1, group=2).sequence(x)
    assert bool((bands == bands[:, :1]).all())
    assert torch.equal(bands[:, :, 0:6:2], bands[:, :, 1:7:2])
    assert {int(n) for n in (bands[:, 0] == 0).sum(1)} == {0, 1, 2, 3, 4}
    batch = Batch({"x": Signal(x, torch.ones(64, 10, dtype=torch.bool))}, None)
    steps = MaskSteps(width=3, times=2)(batch, ["x"]).signals["x"]
    assert bool((steps.values == steps.values[..., :1]).all())
    hidden = (steps.values[..., 0] == 0).sum(1)
    assert int(hidden.max()) <= 6
    assert int(hidden.min()) == 0
    assert steps.valid is not None
    assert bool(steps.valid.all())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_masked_bands_become_the_mean_of_the_valid_positions(dtype: torch.dtype) -> None:
    x = torch.tensor([[[2, 20, 7], [4, 40, 7], [0, 0, 0]], [[6, 60, 7], [8, 80, 7], [5, 50, 7]]], dtype=dtype)
    signal = Signal(x, torch.tensor([[True, True, False], [True, True, True]]))
    masks = MaskChannels(width=1, fill="mean")
    seen = set()
    for _ in range(64):
        found = masks(Batch({"x": signal}), ["x"]).signals["x"]
        assert found.valid is signal.valid
        assert found.values.dtype == (torch.float32 if dtype == torch.uint8 else dtype)
        assert not found.values[0, 2].any()
        for place, sample in enumerate(found.values):
            moved = (sample != x[place]).any(0).nonzero().flatten().tolist()
            seen.add(tuple(moved))
            for channel in moved:
                assert sample[signal.mask[place], channel].unique().tolist() == [[5.0, 50.0][channel]]
    assert seen == {(), (0,), (1,)}  # a masked channel that never changes looks as before
    plain = MaskChannels(width=1)(Batch({"x": signal}), ["x"]).signals["x"]
    assert plain.values.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_stretched_time_keeps_events_and_their_order(dtype: torch.dtype) -> None:
    x = torch.zeros(64, 40, 1, dtype=dtype)
    x[:, [2, 10, 20], 0] = torch.tensor([1, 2, 3], dtype=dtype)
    valid = (torch.arange(40) < 21).expand(64, -1)
    found = stretched(Signal(x, valid))
    assert found.values.dtype == dtype
    lengths = set()
    for values, mask in zip(found.values[..., 0], found.valid, strict=True):
        place = values.nonzero()[:, 0]
        assert values[place].tolist() == [1, 2, 3]
        assert float(place[2]) / 20 == pytest.approx(float(place[1]) / 10, abs=0.08)
        lengths.add(int(mask.sum()))
        assert abs(int(mask.sum()) - (int(place[2]) + 1)) <= 1
    assert min(lengths) < 16 < 26 < max(lengths)


def test_events_that_meet_are_added_and_bits_stay_bits() -> None:
    x = torch.ones(32, 20, 1, dtype=torch.uint8)
    found = stretched(Signal(x)).values
    assert int(found.max()) == 2
    assert set(stretched(Signal(x * 200)).values.unique().tolist()) == {0, 200, 255}  # 400 is not held by a byte
    assert stretched(Signal(x.bool())).values.dtype == torch.bool


def test_events_are_thinned_by_a_share_of_the_sample() -> None:
    found = ThinEvents(most=0.5).sequence(torch.ones(200, 50, 10))
    shares = (found == 0).float().mean((1, 2))
    assert 0.2 < float(shares.mean()) < 0.3
    assert float(shares.max()) < 0.6
    assert float(shares.min()) < 0.05


def test_what_does_not_fit_is_refused() -> None:
    frames = {"events": SignalShape((2, 8, 8), 5)}
    with pytest.raises(UserError, match=r"shift-channels changes spike trains or features \[L, D\]"):
        Augmenter([AugmentRef(name="shift-channels")], frames)
    with pytest.raises(UserError, match=r"stretch-time changes spike trains or features \[L, D\] of several positions"):
        Augmenter([AugmentRef(name="stretch-time")], {"spikes": SignalShape((4,), 1)})


def test_targets_per_step_are_stretched_with_their_steps() -> None:
    target = (torch.arange(60) // 15).expand(32, -1)
    x = torch.nn.functional.one_hot(target, 4).to(torch.uint8)
    augmenter = Augmenter([AugmentRef(name="stretch-time")], {"spikes": SignalShape((4,), 60)}, per_step=True)
    found = augmenter(Batch({"spikes": Signal(x)}, target, target > 0), 1)
    assert found.target is not None
    assert found.target_valid is not None
    seen, some = found.signals["spikes"].values, found.signals["spikes"].values.amax(2) > 0
    # At an edge two classes may meet in a step.
    fits = (seen.argmax(2) == found.target) | ~some
    assert float(fits.float().mean()) > 0.98
    assert not (found.target_valid & (found.target == 0)).any()
    counts = found.target_valid.sum(1)
    assert int(counts.min()) < 40 < 45 <= int(counts.max())
