"""Augmentation of training batches: what it does to values, masks and targets, and that it is of training alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.shapes import SignalShape
from neurozoo.core.signals import Batch, Problem, Signal
from neurozoo.core.task import Task
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import RecipeError, UserError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.nn.step_loss import StepLoss
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import AugmentRef
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.regression import Regression
from neurozoo.training.augmentation import Augmenter, FrameAugmentation, Mixed, Mixup
from neurozoo.training.frames import (
    Cutout,
    EventDrop,
    FrameSubset,
    HorizontalFlip,
    NeuromorphicAugment,
    RandomCrop,
    RandomErasing,
    RandomRoll,
)
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper
from neurozoo.training.train import resume, train

MOVES: list[FrameAugmentation] = [
    RandomCrop(padding=3),
    HorizontalFlip(),
    RandomRoll(limit=9),
    Cutout(size=3),
    RandomErasing(p=0.8, fill="zero"),
    EventDrop(),
    NeuromorphicAugment(cutout=3),
]
SMALL = [
    "data={name: not-installed, instead: {name: frames-synthetic, params: {size: 24, side: 8, length: 3}}}",
    "model.params.channels=[4]",
    "training.epochs=2",
    "training.batch_size=8",
    "training.threads=1",
]
ALL = (
    "[random-crop, {name: horizontal-flip, params: {p: 0.3}}, random-roll, cutout, random-erasing, event-drop, "
    "neuromorphic, rand-augment, colour-jitter, {name: frame-subset, params: {frames: 2}}, {name: mixup, until: 1}]"
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def numbered(samples: int, length: int, channels: int, height: int, width: int) -> Tensor:
    """Frames whose pixels are numbered from 1, the same in every frame, channel and sample."""
    return torch.arange(1, height * width + 1).view(1, 1, 1, height, width).expand(samples, length, channels, -1, -1)


@given(
    which=st.integers(0, len(MOVES) - 1),
    size=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    dtype=st.sampled_from([torch.float32, torch.uint8, torch.int64]),
    seed=st.integers(0, 1000),
)
def test_pixels_move_or_become_0(which: int, size: tuple[int, ...], dtype: torch.dtype, seed: int) -> None:
    frames = numbered(*size).to(dtype)
    before = frames.clone()
    torch.manual_seed(seed)
    changed = MOVES[which].frames(frames)
    assert torch.equal(frames, before)
    assert (changed.shape, changed.dtype) == (frames.shape, dtype)
    for sample in changed:
        assert set(sample.flatten().tolist()) <= {0, *before[0].flatten().tolist()}
    if not isinstance(MOVES[which], EventDrop):
        assert torch.equal(changed, changed[:, :1, :1].expand_as(changed))  # frames of a sample move together


@pytest.mark.parametrize("augmentation", MOVES, ids=lambda each: type(each).__name__)
def test_a_sample_does_not_depend_on_the_others(augmentation: FrameAugmentation) -> None:
    frames, others = torch.rand(4, 3, 2, 8, 9), torch.rand(4, 3, 2, 8, 9)
    others[2] = frames[2]
    torch.manual_seed(1)
    one = augmentation.frames(frames)
    torch.manual_seed(1)
    other = augmentation.frames(others)
    assert torch.equal(one[2], other[2])
    assert not torch.equal(one, other)


def test_bits_stay_bits() -> None:
    frames = torch.rand(3, 2, 2, 6, 6) < 0.4
    for augmentation in MOVES:
        assert augmentation.frames(frames).dtype == torch.bool


def test_a_crop_is_a_window_of_the_frame_with_a_border() -> None:
    frames, seen = numbered(64, 1, 1, 6, 5), set()
    padded = F.pad(frames, (2, 2, 2, 2))
    for bordered, made in zip(padded[:, 0, 0], RandomCrop(padding=2).frames(frames)[:, 0, 0], strict=True):
        found = [(i, j) for i in range(5) for j in range(5) if torch.equal(bordered[i : i + 6, j : j + 5], made)]
        assert len(found) == 1
        seen |= set(found)
    assert len(seen) > 15  # of 25


def test_a_flip_mirrors_the_columns() -> None:
    frames = torch.rand(50, 2, 2, 4, 5)
    assert torch.equal(HorizontalFlip(p=1.0).frames(frames), frames.flip(-1))
    assert torch.equal(HorizontalFlip(p=0.0).frames(frames), frames)
    mirrored = (HorizontalFlip().frames(frames) == frames.flip(-1)).flatten(1).all(1)
    assert 10 < int(mirrored.sum()) < 40


def test_a_roll_loses_nothing() -> None:
    frames = numbered(20, 1, 1, 4, 5)
    rolled = RandomRoll(limit=2).frames(frames)
    assert torch.equal(rolled.flatten(1).sort(1).values, frames.flatten(1))
    shifts = {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    for made in rolled[:, 0, 0]:
        assert any(torch.equal(frames[0, 0, 0].roll(shift, (0, 1)), made) for shift in shifts)


def test_a_cutout_is_a_square_cut_at_the_edges() -> None:
    gone = Cutout(size=3).frames(torch.ones(200, 1, 1, 8, 8))[:, 0, 0] == 0
    areas = gone.flatten(1).sum(1)
    assert int(areas.max()) == 9
    assert int(areas.min()) == 4  # in a corner
    assert torch.equal(gone.any(2).sum(1) * gone.any(1).sum(1), areas)
    assert gone.any(0).all()


def test_erasing_fills_a_rectangle_of_the_area_asked_for() -> None:
    frames = torch.rand(300, 2, 3, 20, 16) * 7 + 100
    changed = RandomErasing(p=0.5).frames(frames)
    different = (changed != frames).any(1).any(1)
    some = different.flatten(1).any(1)
    assert 100 < int(some.sum()) < 200
    boxes = different[some]
    areas = boxes.any(2).sum(1) * boxes.any(1).sum(1)
    assert torch.equal(areas, boxes.flatten(1).sum(1))
    assert int(areas.min()) > 0.01 * 320
    assert int(areas.max()) < 0.4 * 320
    noise = changed[different[:, None, None].expand_as(changed)]
    assert abs(float(noise.mean()) - 103.5) < 0.1
    assert abs(float(noise.std()) - 7 / 12**0.5) < 0.1


def test_events_drop_by_time_by_area_and_anywhere() -> None:
    kept = EventDrop(p=1.0, largest=0.5).frames(torch.ones(300, 8, 2, 10, 10)) == 1
    lost = 1 - kept.flatten(1).float().mean(1)
    assert float(lost.max()) <= 0.57
    whole_frames = ~kept.flatten(2).any(2)
    by_time = whole_frames.any(1)
    by_area = ~by_time & (kept == kept[:, :1, :1]).flatten(1).all(1) & (lost > 0)
    anywhere = ~by_time & ~by_area & (lost > 0)
    for way in (by_time, by_area, anywhere):
        assert int(way.sum()) > 50
    assert torch.equal(EventDrop(p=0.0).frames(torch.ones(9, 1, 1, 2, 2)), torch.ones(9, 1, 1, 2, 2))


def test_event_frames_are_changed_in_every_way() -> None:
    """A fifth of the samples stays as it is, and those that are turned or sheared by less than a pixel."""
    frames = numbered(400, 2, 2, 16, 16).float()
    changed = NeuromorphicAugment(p=0.0).frames(frames)
    same = (changed == frames).flatten(1).all(1).float().mean()
    assert 0.2 < float(same) < 0.45
    middle = changed[:, 0, 0, 7:9, 7:9]  # only a roll, or a square over it, changes the middle
    assert float((middle == frames[:, 0, 0, 7:9, 7:9]).flatten(1).all(1).float().mean()) > 0.5
    mirrored = NeuromorphicAugment(p=1.0).frames(frames)
    assert 0.2 < float((mirrored == frames.flip(-1)).flatten(1).all(1).float().mean()) < 0.45


def test_a_subset_keeps_the_order_and_the_masks() -> None:
    values = torch.arange(1, 7).view(1, 6, 1).expand(200, -1, -1).clone()
    valid = torch.arange(6) < torch.randint(1, 7, (200, 1))
    values[~valid] = 0
    taken = FrameSubset(frames=4)(Batch({"x": Signal(values, valid)}), ["x"]).signals["x"]
    assert taken.values.shape == (200, 4, 1)
    assert torch.equal(taken.mask, taken.values[..., 0] > 0)
    assert torch.equal(taken.mask.sum(1), valid.sum(1).clamp(max=4))
    whole = taken.values[valid.all(1), :, 0]
    assert bool((whole.diff(dim=1) > 0).all())
    assert len({tuple(row) for row in whole.tolist()}) > 8  # of 15
    short = Batch({"x": Signal(values[:, :4])})
    assert FrameSubset(frames=4)(short, ["x"]).signals["x"] is short.signals["x"]
    with pytest.raises(UserError, match="frame-subset drops positions, which have targets here"):
        Augmenter([AugmentRef(name="frame-subset", params={"frames": 4})], {"x": SignalShape((1,), 6)}, per_step=True)


def mixed(values: Tensor, target: Tensor, valid: Tensor | None = None, **other: Any) -> Mixed:
    torch.manual_seed(5)
    batch = Batch({"x": Signal(values, valid)}, target, **other)
    made = Mixup(alpha=0.5)(batch, ["x"])
    assert isinstance(made, Mixed)
    assert 0 < made.share < 1
    return made


def test_mixup_by_hand() -> None:
    values, valid = (
        torch.tensor([[[2, 4], [9, 9]], [[6, 8], [1, 3]]], dtype=torch.uint8),
        torch.tensor([[1, 0], [1, 1]]),
    )
    made = mixed(values, torch.tensor([0, 2]), valid.bool())
    s, signal = made.share, made.signals["x"]
    expected = [[[2 * s + 6 * (1 - s), 4 * s + 8 * (1 - s)], [1 - s, 3 * (1 - s)]]]
    torch.testing.assert_close(signal.values[:1], torch.tensor(expected))
    assert signal.mask.all()
    assert made.target is not None
    assert (made.target.tolist(), made.partner.tolist()) == ([0, 2], [2, 0])


CASES: list[tuple[Task, Tensor, Callable[[Tensor, Tensor], Tensor]]] = [
    (
        Multiclass(("a", "b", "c"), label_smoothing=0.1),
        torch.tensor([0, 2, 1]),
        lambda outputs, soft: F.cross_entropy(outputs, 0.9 * soft + 0.1 / 3),
    ),
    (Regression(("a", "b", "c")), torch.randn(3, 3), F.mse_loss),
]


@pytest.mark.parametrize(("task", "target", "loss"), CASES, ids=["multiclass", "regression"])
def test_the_loss_of_mixed_samples_has_the_gradient_of_soft_targets(task: Task, target: Tensor, loss: Any) -> None:
    made = mixed(torch.rand(3, 2, 2), target)
    whole = F.one_hot(target, 3).float() if target.dim() == 1 else target
    soft = made.share * whole + (1 - made.share) * whole.flip(0)
    outputs = torch.randn(3, 3)
    gradients = []
    for each in (
        lambda x: made.share * task.loss(x, target) + (1 - made.share) * task.loss(x, made.partner),
        lambda x: loss(x, soft),
    ):
        x = outputs.clone().requires_grad_()
        each(x).backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


def small(*lines: str) -> Recipe:
    return load_recipe("spiking_convnet", [*SMALL, *lines], registry=default_registry())


def test_a_step_takes_the_loss_of_both_targets() -> None:
    """Also the valid steps of both."""
    data = "data={name: not-installed, expect: {frames: {shape: [2, 8, 8], length: 3}}}"
    checked = small(data, "task={name: multiclass, per_step: true, outputs: [a, b, c]}", "training.augment=[mixup]")
    model = build_model(checked, expected_problem(checked)[0]).eval()
    batch = made_up(model.problem.signals, model.problem.task, 6, 0)
    kept: list[Any] = []
    model.register_forward_hook(lambda _, inputs, outputs: kept.append((inputs[0], outputs.detach())))
    torch.manual_seed(3)
    with closing(Stepper(model, make_optimizer(checked, model), checked)) as stepper:
        found = stepper.add(batch)["loss"]
    torch.manual_seed(3)
    made = Mixup()(batch, ["frames"])
    assert isinstance(made, Mixed)
    seen, outputs = kept[-1]
    torch.testing.assert_close(seen.signals["frames"].values, made.signals["frames"].values)
    task = model.problem.task
    expected = made.share * task.loss(outputs, made.target, made.target_valid)  # type: ignore[arg-type]
    expected = expected + (1 - made.share) * task.loss(outputs, made.partner, made.partner_valid)
    torch.testing.assert_close(found, expected)


def test_a_module_s_terms_are_of_both_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = small("training.augment=[mixup]")
    model = build_model(checked, expected_problem(checked)[0])
    monkeypatch.setattr(type(model), "losses", lambda self, target: {"first": target[0].float()})
    batch = made_up(model.problem.signals, model.problem.task, 5, 0)
    batch = Batch(batch.signals, torch.tensor([3, 2, 1, 0, 1]))
    torch.manual_seed(3)
    with closing(Stepper(model, make_optimizer(checked, model), checked)) as stepper:
        values = stepper.add(batch)
    torch.manual_seed(3)
    made = Mixup()(batch, ["frames"])
    assert isinstance(made, Mixed)
    assert float(values["first"]) == pytest.approx(3 * made.share + (1 - made.share))


def test_the_loss_of_each_step_is_of_both_targets(tmp_path: Path) -> None:
    """Modules drop what their forward kept once they have used it."""
    lines = ["model.params.loss_steps=each", "training.augment=[mixup]", "training.initialisation={name: default}"]
    data = "data={name: not-installed, expect: {frames: {shape: [2, 32, 32], length: 2}}}"
    sizes = ["model.params.width=16", "model.params.heads=2", "model.params.depth=1"]
    checked = load_recipe("spike_driven_transformer_cifar10_dvs", [data, *sizes, *lines], registry=default_registry())
    model = build_model(checked, expected_problem(checked)[0]).train()
    kept: list[Any] = []
    assert isinstance(model.step_loss, StepLoss)
    keep = model.step_loss.keep
    model.step_loss.keep = lambda *given: (kept.append(given), keep(*given))  # type: ignore[method-assign]
    batch = made_up(model.problem.signals, model.problem.task, 4, 0)
    torch.manual_seed(3)
    with closing(Stepper(model, make_optimizer(checked, model), checked)) as stepper:
        values = stepper.add(batch)
    torch.manual_seed(3)
    made = Mixup()(batch, ["frames"])
    assert isinstance(made, Mixed)
    outputs, _, valid = kept[-1]
    expected = [float(model.step_loss.of(outputs.detach(), target, valid)) for target in (made.target, made.partner)]
    total = float(values["loss"]) + float(values["each_step"])
    assert total == pytest.approx(made.share * expected[0] + (1 - made.share) * expected[1], rel=1e-5)


def test_a_resumed_run_augments_as_if_it_had_not_stopped(
    tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    checked = small(f"training.augment={ALL}", "training.checkpoint_steps=1")
    train(checked, out=tmp_path / "whole")
    with interrupted_at(3):
        train(checked, out=tmp_path / "run")
    resume(tmp_path / "run")
    one, other = (hashlib.sha256(Run(tmp_path / name).last.read_bytes()).digest() for name in ("whole", "run"))
    assert one == other


def test_only_training_is_augmented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, seen = [], []
    original, crop = Augmenter.__call__, RandomCrop.frames

    def counted(self: Augmenter, batch: Batch, epoch: int) -> Batch:
        calls.append(epoch)
        return original(self, batch, epoch)

    monkeypatch.setattr(Augmenter, "__call__", counted)
    monkeypatch.setattr(RandomCrop, "frames", lambda self, values: (seen.append(len(values)), crop(self, values))[1])
    train(small("training.augment=[{name: random-crop, until: 1}]"), out=tmp_path / "run")
    assert calls == [1, 1, 1, 2, 2, 2]
    assert seen == [8, 8, 8]  # of the first epoch's 24 samples


def test_without_it_no_random_number_is_drawn(tmp_path: Path) -> None:
    train(small(), out=tmp_path / "without")
    train(small("training.augment=[{name: horizontal-flip, params: {p: 0}}]"), out=tmp_path / "with")
    losses = [
        [json.loads(line)["train"]["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("without", "with")
    ]
    assert losses[0] == losses[1]  # nothing else draws in this model, and the samples' order has its own generator


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("[mix-up]", "no augmentation .*mix-up.*did you mean 'mixup'"),
        ("[{name: cutout, params: {size: 0}}]", "0 is too small; give at least 1"),
        ("[{name: cutout, params: {sides: 3}}]", "augmentation 'cutout' has no parameter 'sides'"),
        ("[cutout, cutout]", "'cutout' is named 2 times"),
        ("[{name: random-erasing, params: {smallest: 0.5}}]", "0.5 is above largest"),
        ("[{name: cutout, until: 0}]", "0 is too small"),
    ],
)
def test_what_a_recipe_may_not_say(augment: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        small(f"training.augment={augment}")


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        (AugmentRef(name="cutout"), r"cutout changes frames or pictures \[L, C, H, W\], and audio is"),
        (AugmentRef(name="cutout", signals=("audio",)), "cutout changes frames or pictures"),
        (AugmentRef(name="mixup", signals=("tokens",)), "mixup changes numbers that can be averaged.*tokens"),
        (AugmentRef(name="mixup", signals=("vision",)), "mixup names vision, and the model reads: audio"),
    ],
)
def test_signals_that_do_not_fit(ref: AugmentRef, said: str) -> None:
    signals = {"audio": SignalShape((4,), 6), "tokens": SignalShape((), 6, "int64")}
    with pytest.raises(UserError, match=said):
        Augmenter([ref], signals)


def test_signals_that_fit_are_found() -> None:
    problem = Problem({"a": SignalShape((2, 4, 4), 3), "b": SignalShape((5,), 3)}, Multiclass(("x", "y")))
    batch = made_up(problem.signals, problem.task, 4, 0)
    made = Augmenter([AugmentRef(name="cutout")], problem.signals)(batch, 1)
    assert made.signals["b"] is batch.signals["b"]
    assert not torch.equal(made.signals["a"].values, batch.signals["a"].values)
    assert made.signals["a"].valid is batch.signals["a"].valid
