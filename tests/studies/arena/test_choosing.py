"""Thresholds, constants, corruptions and intervals, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.studies.arena.choosing import CALIBRATION, EMPTY, best_threshold, decisions_on, scores_of
from neurozoo.studies.arena.corruption import Corruption, corrupted, corruptions_of
from neurozoo.studies.arena.description import Corruptions
from neurozoo.studies.arena.floors import constants, floors_of
from neurozoo.studies.arena.result import RowResult, front
from neurozoo.studies.intervals import resampled_scores
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel

TASK = Multilabel(("a", "b"), threshold=0.35)
TARGET = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])
PREDICTED = np.array([[0.8, 0.1], [0.6, 0.55], [0.3, 0.1], [0.2, 0.7]])


def test_the_threshold_is_best_for_the_metric_and_nearest_to_the_published_one() -> None:
    # Above .3 and up to .54 every answer is right; .35 is the nearest of them to the task's own.
    assert best_threshold(TASK, TARGET, PREDICTED, "micro_f1") == 0.35
    assert best_threshold(TASK, TARGET, PREDICTED, "accuracy") == 0.35
    lower = PREDICTED * 0.38  # right from .114 to .209
    assert best_threshold(TASK, TARGET, lower, "micro_f1") == pytest.approx(0.2)
    assert best_threshold(TASK, TARGET, lower, "accuracy") == pytest.approx(0.2)


def test_decisions_have_names() -> None:
    found = decisions_on(TASK, TARGET, PREDICTED * [0.4, 1.0], "map", published=0.5)
    assert found["published"] == 0.5
    assert found["each"] == [pytest.approx(0.23), 0.35]  # .12 < t < .24, and .1 < t < .55
    assert set(decisions_on(TASK, TARGET, PREDICTED, "map")) == {"one", "each"}
    assert decisions_on(Multiclass(("a", "b")), TARGET[:, 0], PREDICTED, "accuracy") == {"one": None}


def test_scores_of_several_labels_by_hand() -> None:
    found = scores_of(TASK, TARGET, PREDICTED, 0.65)
    assert found[EMPTY] == 0.5  # the second and the third sample
    assert found["precision"] == 1.0
    assert found["recall"] == 0.5
    # Sureness of the more probable answer, all right: .8 .9 .6 .55 .7 .9 .8 .7, each in a bin of its own kind.
    sure = np.array([0.8, 0.9, 0.6, 0.55, 0.7, 0.9, 0.8, 0.7])
    assert found[CALIBRATION] == pytest.approx((1 - sure).mean())


def test_constants_by_hand() -> None:
    task = Multilabel(("x", "y", "z"))
    train = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 1, 1]])
    found = dict(constants(task, train))
    assert list(found) == ["always x", "always y", "always z", "always x, y", "always all 3 labels"]
    assert found["always x, y"].tolist() == [1, 1, 0]


def test_floors_are_chosen_on_train_and_valid(small_store: Path) -> None:
    view = DataView(Store(small_store))
    task = Multilabel(view.task.outputs)
    found = {each.name: each for each in floors_of(view, task, "map")}
    names = list(found)
    assert "always all 3 labels" in names
    assert any(name.startswith("logistic regression on means and deviations") for name in names)
    shares = view.split("train").target.numpy().mean(0)
    assert found["label shares of train"].test[0] == pytest.approx(shares)
    valid = view.split("valid").target.numpy()
    for metric in ("accuracy", "micro_f1", "macro_f1"):
        tried = {
            name: task.measure(valid, np.tile(labels, (len(valid), 1)), 0.5, [metric])[metric]
            for name, labels in constants(task, view.split("train").target.numpy())
        }
        best = max(tried.values())
        assert any(tried[name] == best for name in names if name in tried)


def test_every_model_of_a_seed_sees_the_same_corruption(small_store: Path) -> None:
    signals = ("text", "audio", "vision")
    whole, part = DataView(Store(small_store)), DataView(Store(small_store), ["vision"])
    section = Corruptions(noise=(0.5,), dropped_frames=(0.3,), dropped_signals=True, without_one=(0.6,))
    for each in corruptions_of(section, signals):
        one, other, next_seed = (
            torch.cat([batch.signals["vision"].values for batch in corrupted(view, "test", each, seed, signals)])
            for view, seed in ((whole, 1), (part, 1), (whole, 2))
        )
        assert torch.equal(one, other), each.title
        assert torch.equal(one, next_seed) == (each.kind == "signal"), each.title


def test_corruptions_by_hand(small_store: Path) -> None:
    signals = ("text", "audio", "vision")
    view = DataView(Store(small_store))
    clean = next(iter(view.batches("test", 64)))
    (lost,) = corrupted(view, "test", Corruption("signal", signal="audio"), 1, signals)
    assert not lost.signals["audio"].mask.any()
    assert not lost.signals["audio"].values.any()
    assert torch.equal(lost.signals["text"].values, clean.signals["text"].values)

    (without,) = corrupted(view, "test", Corruption("without_one", 0.99), 1, signals)
    gone = torch.stack([~without.signals[name].mask.any(1) for name in signals]).sum(0)
    assert gone.max() == 1
    assert gone.sum() >= 9  # of 11 samples

    (frames,) = corrupted(view, "test", Corruption("frames", 0.5), 1, signals)
    for name in signals:
        kept, before = frames.signals[name].mask, clean.signals[name].mask
        assert 0.2 < kept.sum() / before.sum() < 0.8
        assert not (kept & ~before).any()
        assert torch.equal(frames.signals[name].values[kept], clean.signals[name].values[kept])

    (noisy,) = corrupted(view, "test", Corruption("noise", 0.5), 1, signals)
    added = noisy.signals["text"].values - clean.signals["text"].values
    mask = clean.signals["text"].mask
    assert not added[~mask].any()
    deviation = torch.cat([b.signals["text"].values[b.signals["text"].mask] for b in view.batches("train", 64)]).std(0)
    assert (added[mask] / deviation).std() == pytest.approx(0.5, rel=0.2)
    assert corruptions_of(Corruptions(dropped_signals=True, without_one=(0.5,)), ["text"]) == []


def test_groups_are_resampled_whole_and_rows_together() -> None:
    values = np.array([1.0, 1.0, 4.0])  # two groups: the first two, and the last

    def mean(offset: float) -> object:
        return lambda places: {"mean": float(values[places].mean()) + offset}

    rows = resampled_scores({"a": [mean(0.0)], "b": [mean(1.0), mean(3.0)]}, ["g", "g", "h"], draws=50)
    assert rows["a"]["mean"].value == 2.0
    assert rows["b"]["mean"].value == 4.0
    assert set(rows["a"]["mean"].drawn) == {1.0, 2.0, 4.0}  # g g, g h, h h
    difference = rows["b"]["mean"].minus(rows["a"]["mean"])
    assert (difference.mean, difference.low, difference.high) == pytest.approx((2.0, 2.0, 2.0))


def test_the_front_by_hand() -> None:
    known = {"dear and good": (0.9, 10.0), "cheap": (0.5, 1.0), "beaten": (0.5, 2.0), "like": (0.9, 10.0)}
    rows = [RowResult(name, "spiking", {}, {}) for name in known]
    found = front(rows, lambda row: known[row.name][0], lambda row: known[row.name][1])
    assert found == ["dear and good", "cheap", "like"]
