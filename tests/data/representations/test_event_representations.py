"""Representations of events: hand-computed tables, and laws that hold for any events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.representation import Representation
from neurozoo.core.signals import Signal, SignalShape
from neurozoo.data.representations.bins import Bins, FramesByCount
from neurozoo.data.representations.event_arrays import address_of, coordinates, grid, step_of
from neurozoo.data.representations.event_choice import Crop, Downsample
from neurozoo.data.representations.time_surface import TimeSurface
from neurozoo.data.representations.voxel_grid import VoxelGrid
from neurozoo.errors import DataError
from neurozoo.recipe.params import component_problems
from neurozoo.registry.registry import default_registry

CHANNELS = SignalShape((2,), 100, "int32", True, tick=0.001, sensor=(3,), span=40)
CAMERA = SignalShape((2,), 100, "int32", True, tick=0.001, sensor=(2, 2, 3), span=40)


def batch(*samples: list[tuple[int, int]]) -> Signal:
    """Pad samples of events as a store does."""
    lengths = torch.tensor([len(each) for each in samples])
    values = torch.zeros(len(samples), max(1, *lengths.tolist(), 0), 2, dtype=torch.int32)
    for row, each in enumerate(samples):
        values[row, : len(each)] = torch.tensor(each, dtype=torch.int32).reshape(-1, 2)
    return Signal(values, torch.arange(values.shape[1]) < lengths[:, None])


def events_of(signal: Signal) -> list[list[tuple[int, ...]]]:
    """Return the events of each sample, the reverse of :func:`batch`."""
    return [[tuple(e) for e in row[valid].tolist()] for row, valid in zip(signal.values, signal.mask, strict=True)]


SAMPLES = st.lists(
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 11)), max_size=12).map(sorted), min_size=1, max_size=4
)


def test_a_table_by_hand() -> None:
    signal = batch([(0, 2), (9, 0), (9, 0), (10, 1), (25, 2)], [], [(39, 1)])
    bins = Bins(step=0.01, steps=3)
    assert bins.shape(CHANNELS) == SignalShape((3,), 3, "float32", False, tick=0.01)
    found = bins(signal, CHANNELS)
    assert found.valid is None
    assert found.values.tolist() == [
        [[2, 0, 1], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0]] * 3,
        [[0, 0, 0]] * 3,  # its event is in the fourth step
    ]


def test_steps_up_to_the_last_event() -> None:
    bins = Bins(step=0.01, valid="event", values="bits")
    assert bins.shape(CHANNELS) == SignalShape((3,), 4, "bool", True, tick=0.01)
    found = bins(batch([(0, 2), (9, 0), (9, 0)], [], [(12, 1)]), CHANNELS)
    assert found.mask.tolist() == [[True, False], [False, False], [True, True]]
    assert found.values.tolist() == [
        [[True, False, True], [False] * 3],
        [[False] * 3, [False] * 3],
        [[False] * 3, [False, True, False]],
    ]
    assert bins(batch([]), CHANNELS).values.shape == (1, 1, 3)


def test_frames_have_the_axes_of_the_sensor() -> None:
    # polarity 1, y 0, x 2 is address 8
    found = Bins(step=0.04, dtype="uint8")(batch([(0, 8), (1, 8)]), CAMERA)
    assert found.values.dtype == torch.uint8
    assert found.values.shape == (1, 1, 2, 2, 3)
    assert int(found.values[0, 0, 1, 0, 2]) == 2 == int(found.values.sum())


def test_times_on_a_grid_in_float16_stay_in_their_step() -> None:
    """A floor puts 48 of the first 101 multiples of 10 ms one step early; the nearest none."""
    times = (torch.arange(101) * 0.01).half().double().mul(1e6).round().long()
    shape = SignalShape((2,), 1, "int32", True, tick=1e-6, sensor=(1,), span=int(times.max()) + 1)
    signal = batch([(int(t), 0) for t in times])
    assert Bins(step=0.01, steps=101, rounding="nearest")(signal, shape).values.flatten().tolist() == [1] * 101
    floored = step_of(times, grid(0.01, 1e-6), "floor")
    assert int((floored != torch.arange(101)).sum()) == 48


@given(st.integers(0, 2**31 - 1), st.integers(1, 10**6), st.sampled_from([1e-6, 1e-3, 1 / 250, 1 / 16000]))
@settings(max_examples=60, deadline=None)
def test_the_step_of_a_time_is_exact(time: int, ticks: int, tick: float) -> None:
    found = {each: int(step_of(torch.tensor([time]), grid(ticks * tick, tick), each)) for each in ("floor", "nearest")}
    assert found == {"floor": time // ticks, "nearest": (2 * time + ticks) // (2 * ticks)}
    assert grid(0.0025, 1e-3) == Fraction(5, 2)


@given(SAMPLES, st.integers(1, 45), st.one_of(st.none(), st.integers(1, 50)), st.sampled_from(["all", "event"]))
@settings(max_examples=60, deadline=None)
def test_every_event_inside_is_counted_once(
    samples: list[list[tuple[int, int]]], ticks: int, steps: int | None, valid: str
) -> None:
    bins = Bins(step=ticks * 0.001, steps=steps, valid=valid)  # type: ignore[arg-type]
    found, length = bins(batch(*samples), CAMERA), bins.shape(CAMERA).length
    inside = [sum(t // ticks < length for t, _ in sample) for sample in samples]
    assert found.values.flatten(1).sum(1).tolist() == inside
    assert steps is not None or inside == [len(sample) for sample in samples]
    bits = Bins(step=ticks * 0.001, steps=steps, valid=valid, values="bits")(batch(*samples), CAMERA)  # type: ignore[arg-type]
    assert torch.equal(bits.values, found.values > 0)


@given(SAMPLES, st.integers(1, 20), st.sampled_from(["all", "event"]), st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_sample_alone_is_the_sample_in_a_batch_in_any_order(
    samples: list[list[tuple[int, int]]], ticks: int, valid: str, random: object
) -> None:
    bins = Bins(step=ticks * 0.001, valid=valid)  # type: ignore[arg-type]
    together = bins(batch(*samples), CAMERA)
    for row, sample in enumerate(samples):
        shuffled = list(sample)
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        alone = bins(batch(shuffled), CAMERA)
        length = alone.values.shape[1]
        assert torch.equal(alone.values[0], together.values[row, :length])
        assert not together.values[row, length:].any()
        if valid == "event":
            assert int(alone.mask.sum()) == int(together.mask[row].sum())


@given(SAMPLES)
@settings(max_examples=40, deadline=None)
def test_bits_of_single_ticks_give_the_events_back(samples: list[list[tuple[int, int]]]) -> None:
    found = Bins(step=0.001, values="bits")(batch(*samples), CAMERA).values
    back = [[tuple(each) for each in row.flatten(1).nonzero().tolist()] for row in found]
    assert back == [sorted(set(sample)) for sample in samples]


def test_what_cannot_be_binned_is_refused() -> None:
    with pytest.raises(DataError, match=r"needs events, and the signal is float32 \[7, 3\]"):
        Bins(step=0.01).shape(SignalShape((3,), 7))
    with pytest.raises(DataError, match="a step of 1e-06 s is shorter than the signal's tick"):
        Bins(step=1e-6).shape(CHANNELS)
    many: Tensor = torch.zeros(1, 300, 2, dtype=torch.int32)
    with pytest.raises(DataError, match="a step has 300 events of one address, and uint8 holds fewer"):
        Bins(step=0.01, dtype="uint8")(Signal(many, torch.ones(1, 300, dtype=torch.bool)), CHANNELS)


@pytest.mark.parametrize(
    ("frames", "table"),
    [
        (FramesByCount(events=2), [[[1, 0, 1], [1, 1, 0], [0, 0, 1]], [[0, 1, 0], [0] * 3, [0] * 3]]),
        (FramesByCount(events=2, frames=2), [[[1, 0, 1], [1, 1, 0]], [[0, 1, 0], [0] * 3]]),
        # Of five events two, one, two; the only one is in the first of its frames.
        (FramesByCount(frames=3), [[[1, 0, 1], [1, 1, 0], [0, 0, 1]], [[0, 1, 0], [0] * 3, [0] * 3]]),
        (FramesByCount(events=5, values="bits"), [[[True] * 3], [[False, True, False]]]),
    ],
)
def test_frames_by_count_by_hand(frames: FramesByCount, table: list[list[list[int]]]) -> None:
    signal = batch([(0, 2), (0, 0), (9, 0), (10, 1), (39, 2)], [(7, 1)], [])
    shape = SignalShape((2,), 5, "int32", True, tick=0.001, sensor=(3,), span=40)
    found = frames(signal, shape)
    assert found.values.shape[1:] == (frames.shape(shape).length, 3)
    assert found.values.tolist() == [*table, torch.zeros_like(found.values[2]).tolist()]
    ragged = FramesByCount(events=2, valid="event")(signal, shape)
    assert ragged.mask.sum(1).tolist() == [3, 1, 0]


@given(SAMPLES, st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_frames_by_count_hold_as_many_events(samples: list[list[tuple[int, int]]], count: int) -> None:
    found = FramesByCount(events=count, valid="event")(batch(*samples), CAMERA)
    for row, sample in enumerate(samples):
        whole, rest = divmod(len(sample), count)
        expected = [count] * whole + [rest] * (rest > 0)
        assert found.values[row].flatten(1).sum(1)[found.mask[row]].tolist() == expected
    assert [int(x) for x in FramesByCount(frames=count)(batch(*samples), CAMERA).values.flatten(1).sum(1)] == [
        len(sample) for sample in samples
    ]


def test_a_voxel_grid_by_hand() -> None:
    # at 0, 1/4 and 1 of the duration, on a grid of three points: positions 0, 1/2 and 2
    signal = batch([(10, 0), (15, 2), (30, 2)], [(8, 1)], [])
    found = VoxelGrid(points=3)(signal, CHANNELS)
    assert found.values.tolist() == [
        [[1.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 1.0]],
        [[0.0, 1.0, 0.0], [0.0] * 3, [0.0] * 3],
        [[0.0] * 3] * 3,
    ]
    found = VoxelGrid(points=3, step=0.01)(signal, CHANNELS)
    assert found.values[0].tolist() == [[0.0, 0.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.0, 0.5]]
    assert VoxelGrid(points=3, step=0.01).shape(CHANNELS) == SignalShape((3,), 3, "float32", False, tick=0.01)


def test_signed_voxels_subtract_the_darker_events() -> None:
    brighter, darker = 6 + 4, 4  # y 1, x 1
    found = VoxelGrid(points=2, polarity="signed")(batch([(0, darker), (10, brighter), (10, brighter)]), CAMERA)
    assert found.values.shape == (1, 2, 1, 2, 3)
    assert found.values[0, :, 0, 1, 1].tolist() == [-1.0, 2.0]
    assert float(found.values.abs().sum()) == 3.0
    with pytest.raises(DataError, match="signs are of a camera's polarities"):
        VoxelGrid(points=2, polarity="signed").shape(CHANNELS)


@given(SAMPLES, st.integers(2, 9), st.one_of(st.none(), st.integers(1, 50)))
@settings(max_examples=40, deadline=None)
def test_voxels_share_each_event_once(samples: list[list[tuple[int, int]]], points: int, ticks: int | None) -> None:
    step = None if ticks is None else ticks * 0.001
    found = VoxelGrid(points=points, step=step)(batch(*samples), CAMERA)
    for row, sample in enumerate(samples):
        # Behind the last point an event keeps the part that the last point has of it.
        shares = [1.0 if ticks is None else min(1.0, max(0.0, points - t / ticks)) for t, _ in sample]
        assert float(found.values[row].sum()) == pytest.approx(sum(shares), abs=1e-4)


def test_a_time_surface_by_hand() -> None:
    surface = TimeSurface(step=0.01, decay=0.02)
    assert surface.shape(CHANNELS) == SignalShape((3,), 4, "float32", False, tick=0.01)
    found = surface(batch([(0, 2), (4, 2), (10, 1), (25, 2)], []), CHANNELS).values
    e = math.exp
    table = [
        [0, 0, e(-6 / 20)],
        [0, e(-10 / 20), e(-16 / 20)],
        [0, e(-20 / 20), e(-5 / 20)],
        [0, e(-30 / 20), e(-15 / 20)],
    ]
    torch.testing.assert_close(found[0], torch.tensor(table))
    assert not found[1].any()


@given(SAMPLES, st.integers(1, 20), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_a_time_surface_is_that_of_its_definition(samples: list[list[tuple[int, int]]], ticks: int, decay: int) -> None:
    found = TimeSurface(step=ticks * 0.001, decay=decay * 0.001)(batch(*samples), CAMERA).values.flatten(2)
    for row, sample in enumerate(samples):
        for k in range(found.shape[1]):
            for a in range(12):
                times = [t for t, address in sample if address == a and t < (k + 1) * ticks]
                expected = math.exp(-((k + 1) * ticks - max(times)) / decay) if times else 0.0
                assert float(found[row, k, a]) == pytest.approx(expected, abs=1e-6)


def test_a_crop_by_hand() -> None:
    # polarity, y, x: 0 0 0, 1 1 2, 1 1 1, 0 0 2
    signal = batch([(5, 0), (12, 11), (18, 10), (20, 10), (30, 2)], [(3, 0)])
    crop = Crop(begin=0.01, duration=0.01, origin=(1, 1), size=(1, 2))
    shape = crop.shape(CAMERA)
    assert (shape.sensor, shape.span, shape.length, shape.tick) == ((2, 1, 2), 10, 100, 0.001)
    found = crop(signal, CAMERA)
    assert events_of(found) == [[(2, 3), (8, 2)], []]
    assert found.values.shape == (2, 2, 2)
    assert events_of(Crop(origin=(1,))(batch([(1, 0), (2, 2)]), CHANNELS)) == [[(2, 1)]]
    assert Crop(origin=(1,)).shape(CHANNELS).sensor == (2,)


@pytest.mark.parametrize(
    ("crop", "problem"),
    [
        (Crop(begin=0.04), r"the window is empty: the store's samples end at 0.04 s"),
        (Crop(origin=(1, 1), size=(2, 1)), r"a part of \[2, 1\] from \[1, 1\] on leaves the sensor's \[2, 3\]"),
        (Crop(origin=(1,)), r"for other axes than \[2, 3\]; give one number for each"),
        (Crop(origin=(2, 0)), r"nothing is left from \[2, 0\] on of the sensor's \[2, 3\]"),
    ],
)
def test_an_impossible_crop_is_refused(crop: Crop, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        crop.shape(CAMERA)


@given(SAMPLES, st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_a_coarser_sensor_keeps_every_event(samples: list[list[tuple[int, int]]], factor: int) -> None:
    down = Downsample(factor=factor)
    shape, found = down.shape(CAMERA), down(batch(*samples), CAMERA)
    assert shape.sensor == (2, -(-2 // factor), -(-3 // factor))
    fine, coarse = (Bins(step=1.0)(each, of).values for each, of in ((batch(*samples), CAMERA), (found, shape)))
    pooled = torch.nn.functional.avg_pool2d(
        torch.nn.functional.pad(fine[:, 0], (0, -3 % factor, 0, -2 % factor)), factor, divisor_override=1
    )
    assert torch.equal(coarse[:, 0], pooled)
    assert [[t for t, _ in sample] for sample in events_of(found)] == [[t for t, _ in s] for s in samples]


@given(st.lists(st.integers(0, 59)), st.sampled_from([(60,), (2, 5, 6), (3, 4, 5)]))
@settings(max_examples=20, deadline=None)
def test_coordinates_give_the_address_back(addresses: list[int], sensor: tuple[int, ...]) -> None:
    given_ = torch.tensor(addresses, dtype=torch.int64)
    found = coordinates(given_, sensor)
    assert torch.equal(address_of(found, sensor), given_)
    assert [tuple(each) for each in torch.stack(found, -1).tolist()] == [
        tuple(map(int, place)) for place in zip(*torch.unravel_index(given_, sensor), strict=True)
    ]


EVERY: Sequence[Representation] = (
    Bins(step=0.003),
    FramesByCount(events=3),
    FramesByCount(frames=4),
    VoxelGrid(points=5),
    VoxelGrid(points=5, step=0.01),
    TimeSurface(step=0.004, decay=0.01),
)


@given(SAMPLES, st.sampled_from(EVERY))
@settings(max_examples=60, deadline=None)
def test_a_sample_alone_equals_the_sample_in_a_batch(samples: list[list[tuple[int, int]]], of: Representation) -> None:
    together = of(batch(*samples), CAMERA)
    assert together.values.shape[1:] == (of.shape(CAMERA).length, 2, 2, 3)
    assert str(together.values.dtype) == f"torch.{of.shape(CAMERA).dtype}"
    for row, sample in enumerate(samples):
        assert torch.equal(of(batch(sample), CAMERA).values[0], together.values[row])


@pytest.mark.parametrize(
    ("name", "params", "problem"),
    [
        ("frames-by-count", {}, "nothing says where a frame ends"),
        ("voxel-grid", {"points": 1}, "one point has no duration"),
        ("bins", {"step": 0.0}, "give more than 0"),
        ("time-surface", {"step": 0.01}, "needs the parameter 'decay'"),
    ],
)
def test_parameters_are_checked_with_the_recipe(name: str, params: dict[str, float], problem: str) -> None:
    problems = [text for _, text in component_problems("representation", name, params, default_registry())]
    assert len(problems) == 1
    assert problem in problems[0]
