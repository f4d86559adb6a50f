"""Augmentations of events: what they do to events as they are stored, and that a training with them repeats."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neurozoo.core.signals import Batch, Signal, SignalShape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.errors import UserError
from neurozoo.evaluation.prediction import predict
from neurozoo.hub.packing import pack
from neurozoo.recipe.recipe import Recipe, make_recipe
from neurozoo.recipe.schema import AugmentRef
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training.augmentation import EventAugmentation, EventAugmenter
from neurozoo.training.events import EventFlip, EventJitter, EventShift
from neurozoo.training.frames import EventDrop
from neurozoo.training.train import dry_run, resume, train

CAMERA = SignalShape((2,), 400, "int32", True, tick=0.001, sensor=(2, 5, 7), span=1000)
CHANNELS = SignalShape((2,), 400, "int32", True, tick=0.001, sensor=(20,), span=1000)
EVERY = (EventShift(cells=3, time=0.2), EventDrop(p=1.0), EventJitter(time=0.05, cells=1.5))


def made(shape: SignalShape, *lengths: int) -> Signal:
    values = torch.zeros(len(lengths), max(1, *lengths), 2, dtype=torch.int32)
    for row, n in enumerate(lengths):
        values[row, :n, 0] = torch.randint(0, shape.span or 1, (n,)).sort().values
        values[row, :n, 1] = torch.randint(0, shape.addresses, (n,))
    return Signal(values, torch.arange(values.shape[1]) < torch.tensor(lengths)[:, None])


@given(st.sampled_from(EVERY), st.sampled_from([CAMERA, CHANNELS]), st.integers(0, 2**16))
@settings(max_examples=40)
def test_events_stay_events(augmentation: EventAugmentation, shape: SignalShape, seed: int) -> None:
    torch.manual_seed(seed)
    events = made(shape, 30, 0, 1, 60)
    found = augmentation.events(events, shape)
    time, address = found.values.unbind(2)
    assert found.values.dtype == torch.int32
    assert bool(((time >= 0) & (time < 1000) & (address >= 0) & (address < shape.addresses)).all())
    assert not bool(((time[:, 1:] < time[:, :-1]) & found.mask[:, 1:]).any())
    assert not found.values[~found.mask].any()
    counts = found.mask.sum(1)
    assert torch.equal(found.mask, torch.arange(found.mask.shape[1]) < counts[:, None])
    assert bool((counts <= events.mask.sum(1)).all())
    torch.manual_seed(seed)
    again = augmentation.events(made(shape, 30, 0, 1, 60), shape)
    assert torch.equal(again.values, found.values)


def test_a_shift_is_the_same_for_all_events_of_a_sample() -> None:
    torch.manual_seed(0)
    values = torch.tensor([[500, 0 * 35 + 2 * 7 + 3], [600, 1 * 35 + 2 * 7 + 3]], dtype=torch.int32).expand(50, 2, 2)
    found = EventShift(cells=1, time=0.1).events(Signal(values, torch.ones(50, 2, dtype=torch.bool)), CAMERA).values
    assert set((found[:, 1] - found[:, 0]).unbind()[0].tolist()) == {100, 35}
    assert bool(((found[:, 1] - found[:, 0]) == torch.tensor([100, 35])).all())
    moved = {tuple(divmod(a, 7)) for a in found[:, 0, 1].tolist()}
    assert moved == {(y, x) for y in (1, 2, 3) for x in (2, 3, 4)}
    late = found[:, 0, 0] - 500
    assert -100 <= int(late.min()) < -50
    assert 50 < int(late.max()) <= 100


@pytest.mark.parametrize(
    ("axis", "shape", "address", "goal"),
    [
        ("x", CAMERA, 35 + 7 + 2, 35 + 7 + 4),
        ("y", CAMERA, 35 + 7 + 2, 35 + 21 + 2),
        ("polarity", CAMERA, 35 + 7 + 2, 7 + 2),
        ("channel", CHANNELS, 4, 15),
    ],
)
def test_a_flip_by_hand(axis: Any, shape: SignalShape, address: int, goal: int) -> None:
    signal = Signal(torch.tensor([[[3, address], [0, 0]]], dtype=torch.int32), torch.tensor([[True, False]]))
    assert EventFlip(axis=axis, p=1.0).events(signal, shape).values.tolist() == [[[3, goal], [0, 0]]]
    assert EventFlip(axis=axis, p=0.0).events(signal, shape).values.tolist() == signal.values.tolist()
    torch.manual_seed(0)
    many = Signal(signal.values.expand(100, 2, 2), torch.ones(100, 2, dtype=torch.bool))
    assert 30 < int((EventFlip(axis=axis).events(many, shape).values[:, 0, 1] == goal).sum()) < 70


def test_a_jitter_moves_each_event_by_its_deviation() -> None:
    torch.manual_seed(0)
    shape = SignalShape((2,), 1, "int32", True, tick=0.001, sensor=(400,), span=1000)
    signal = Signal(torch.full((1, 4000, 2), 200, dtype=torch.int32), torch.ones(1, 4000, dtype=torch.bool))
    time, address = EventJitter(time=0.02, cells=3.0).events(signal, shape).values[0].double().unbind(1)
    assert len(time) == 4000
    assert float(time.std()) == pytest.approx(20, rel=0.1)
    assert float(address.std()) == pytest.approx(3, rel=0.1)
    assert bool((time.diff() >= 0).all())
    assert abs(float(torch.corrcoef(torch.stack([time, address]))[0, 1])) < 0.1


def test_a_drop_takes_a_share_in_one_of_three_ways() -> None:
    torch.manual_seed(0)
    events = made(CAMERA, *[400] * 60)
    found = EventDrop(p=1.0, largest=1.0).events(events, CAMERA)
    ways = set()
    for row in range(60):
        before, after = (x.values[row][x.mask[row]] for x in (events, found))
        left = {tuple(each) for each in after.tolist()}
        gone = torch.tensor([tuple(each) not in left for each in before.tolist()])
        if not 100 < int(gone.sum()) < 300:
            continue
        place = gone.nonzero().flatten()
        if bool(gone[place[0] : place[-1]].all()):
            ways.add("time")
        elif (before[gone, 1] % 35 // 7).unique().numel() < 5 or (before[gone, 1] % 7).unique().numel() < 7:
            ways.add("area")
        else:
            ways.add("anywhere")
    assert ways == {"time", "area", "anywhere"}
    assert torch.equal(EventDrop(p=0.0).events(events, CAMERA).values, events.values)


@pytest.mark.parametrize(
    ("ref", "stored", "problem"),
    [
        (AugmentRef(name="event-jitter"), {}, "event-jitter changes events, and the data has none; take it out"),
        (AugmentRef(name="event-flip"), {"spikes": CHANNELS}, "event-flip needs axis: channel, and spikes is"),
        (AugmentRef(name="event-flip", params={"axis": "channel"}), {"e": CAMERA}, "needs axis x, y or polarity"),
        (AugmentRef(name="event-jitter", signals=("ear",)), {"e": CAMERA}, "names ear, and stored as events are: e"),
    ],
)
def test_what_does_not_fit_is_refused(ref: AugmentRef, stored: dict[str, SignalShape], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        EventAugmenter([ref], stored)


def test_an_augmentation_ends_with_its_epoch_and_keeps_to_its_signals() -> None:
    refs = [AugmentRef(name="event-drop", params={"p": 1.0, "largest": 1.0}, until=2, signals=("one",))]
    augmenter = EventAugmenter(refs, {"one": CAMERA, "two": CAMERA})
    assert augmenter.change(3) is None
    change = augmenter.change(2)
    assert change is not None
    batch = Batch({name: made(CAMERA, 50) for name in ("one", "two")})
    found = change(batch)
    assert found.signals["two"] is batch.signals["two"]
    assert int(found.signals["one"].mask.sum()) < 50
    assert EventAugmenter([AugmentRef(name="event-drop")], {}).change(1) is None  # frames then, elsewhere


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty channels, of which the class fires one half."""
    path = tmp_path_factory.mktemp("spikes") / "store"
    rng = np.random.default_rng(0)
    task: dict[str, Any] = {"task": "multiclass", "outputs": ["low", "high"], "origin": {"format": "test"}}
    with StoreWriter(path, signals={"spikes": SignalShape.events((20,), 100, tick=0.001)}, **task) as writer:
        for split, n in (("train", 24), ("valid", 8), ("test", 8)):
            classes = rng.integers(0, 2, n)
            events = [
                np.stack([np.sort(rng.integers(0, 100, 40)), rng.integers(0, 10, 40) + 10 * each], 1)
                for each in classes
            ]
            writer.add(split, {"spikes": events}, classes)
    return path


AUGMENT = [
    "event-drop",
    {"name": "event-shift", "params": {"cells": 1, "time": 0.01}},
    {"name": "event-jitter", "params": {"time": 0.002, "cells": 0.5}},
    {"name": "event-flip", "params": {"axis": "channel", "p": 0.1}, "until": 1},
]


def recipe(root: Path, augment: list[Any], **represent: Any) -> Recipe:
    bins = {"name": "bins", "params": {"step": 0.01, "steps": 10, "valid": "event"}}
    content = {
        "schema": 2,
        "data": {"root": str(root), "represent": represent or {"spikes": bins}, "standardise": True},
        "task": {"name": "multiclass"},
        "model": {"name": "recurrent", "params": {"hidden": [8]}},
        "training": {"epochs": 2, "batch_size": 8, "augment": augment, "checkpoint_steps": 1, "threads": 1},
    }
    return make_recipe(content, "spikes", default_registry())


def digest(folder: Path) -> str:
    return hashlib.sha256(Run(folder).last.read_bytes()).hexdigest()


def test_a_resumed_run_has_the_bits_of_one_that_did_not_stop(
    tmp_path: Path, root: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    train(recipe(root, AUGMENT), out=tmp_path / "whole")
    with interrupted_at(4):
        train(recipe(root, AUGMENT), out=tmp_path / "run")
    resume(tmp_path / "run")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
    train(recipe(root, []), out=tmp_path / "plain")
    assert digest(tmp_path / "plain") != digest(tmp_path / "whole")


def test_a_run_on_events_predicts_from_the_store_of_events(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if nothing is kept in memory the run has the same bits."""
    train(recipe(root, []), out=tmp_path / "run")
    monkeypatch.setenv("NEUROZOO_CACHE_MIB", "0")
    train(recipe(root, []), out=tmp_path / "other")
    assert digest(tmp_path / "run") == digest(tmp_path / "other")
    found = list(predict(tmp_path / "run", root, split="test"))
    assert [each.id for each in found] == [str(n) for n in range(8)]
    assert {each.answer["class"] for each in found} <= {"low", "high"}
    pack(tmp_path / "run", tmp_path / "pack")
    assert list(predict(tmp_path / "pack", root, split="test")) == found
    card = (tmp_path / "pack" / "README.md").read_text()
    assert "Signal spikes is represented by bins (step 0.01, steps 10, valid event" in card
    stored = Run(tmp_path / "run").read_json("data.json")["stored"]["spikes"]
    assert stored["tick"] == Store(root).description.signals["spikes"].tick


def test_a_dry_run_needs_no_events(root: Path) -> None:
    assert dry_run(recipe(root, AUGMENT))["dry_run"]


def test_events_without_a_representation_are_refused_with_the_line_to_add(root: Path) -> None:
    with pytest.raises(UserError, match=r"spikes is events, .* data.represent.spikes=\{name: bins"):
        dry_run(recipe(root, [], spikes={"name": "crop", "params": {"duration": 0.05}}))
