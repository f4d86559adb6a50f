"""The SYNTHETIC sets for first models: seeded, small, and with something to learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import PolynomialFeatures

from neurozoo.core.signals import SignalShape
from neurozoo.core.task import Task
from neurozoo.data.manifest import TaskEntry
from neurozoo.data.representations.bins import Bins
from neurozoo.data.store import Store
from neurozoo.data.synthetic.events import EventsSynthetic
from neurozoo.data.synthetic.frames import DIRECTIONS, FramesSynthetic
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.data.synthetic.series import QUANTITIES, SeriesSynthetic
from neurozoo.data.synthetic.spikes import SpikesSynthetic
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression
from neurozoo.testing import Candidate, check


@pytest.fixture(autouse=True)
def _in_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))


@pytest.mark.parametrize(
    ("target", "params"),
    [
        (FramesSynthetic, {"size": 8, "form": "pictures", "classes": 8}),
        (SpikesSynthetic, {"size": 9, "per_step": True}),
    ],
)
def test_their_other_forms_pass_the_kit_too(target: type[Any], params: dict[str, Any]) -> None:
    check(Candidate("data", target.__name__, target, params)).raise_if_failed()


@pytest.mark.parametrize("target", [FramesSynthetic, EventsSynthetic, SpikesSynthetic, SeriesSynthetic])
def test_they_say_synthetic_and_follow_their_seed(target: type[Any]) -> None:
    one, other = target(size=4).store(), target(size=4, seed=2).store()
    assert "synthetic" in one.path.name
    assert one.description.synthetic
    assert "SYNTHETIC" in one.description.origin["source"]
    assert one.split("test").ids == ("synthetic-test-00000",)
    (name,) = one.description.signals
    x, y = (store.split("train").batch(torch.tensor([0])).signals[name].values for store in (one, other))
    assert x.shape != y.shape or not torch.equal(x, y)
    larger = target(size=140).store().split("train").batch(torch.arange(4)).signals[name].values
    assert torch.equal(one.split("train").batch(torch.arange(4)).signals[name].values, larger)


def test_events_are_those_of_the_bars() -> None:
    """In steps of the bar's interval, events are the frames again."""
    options = {"size": 6, "side": 6, "length": 5, "classes": 3, "noise": 0.05}
    events, frames = EventsSynthetic(**options).store(), FramesSynthetic(**options, form="events").store()
    view = DataView(events, represent={"events": [("bins", Bins(step=0.005, steps=5, values="bits"))]})
    for split in ("train", "test"):
        places = torch.arange(events.description.splits[split])
        found, expected = view.split(split).batch(places), frames.split(split).batch(places)
        assert torch.equal(found.signals["events"].values, expected.signals["frames"].values)
        assert found.target is not None
        assert expected.target is not None
        assert torch.equal(found.target, expected.target)
    times = events.split("train").batch(torch.arange(6)).signals["events"].values[..., 0]
    assert len(times.unique()) > 20


def test_frames_are_bits_or_bytes() -> None:
    events = FramesSynthetic(size=4).store().description
    assert events.signals == {"frames": SignalShape((2, 16, 16), 8, "bool", ragged=False)}
    assert events.task == TaskEntry("multiclass", tuple(DIRECTIONS)[:4], False)
    assert events.splits == {"train": 4, "valid": 1, "test": 1}
    store = FramesSynthetic(size=4, form="pictures", side=10, length=3, noise=0.0).store()
    batch = store.split("train").batch(torch.arange(4))
    assert store.description.signals == {"frames": SignalShape((1, 10, 10), 3, "uint8", ragged=False)}
    assert set(batch.signals["frames"].values.unique().tolist()) == {0, 255}
    assert batch.signals["frames"].valid is None


def test_a_bar_moves_in_its_direction() -> None:
    store = FramesSynthetic(size=64, classes=8, form="pictures", side=12, noise=0.0).store()
    batch = store.split("train").batch(torch.arange(64))
    frames = batch.signals["frames"].values[:, :, 0]
    assert batch.target is not None
    assert set(batch.target.tolist()) == set(range(8))
    for before, after, direction in zip(frames[:, 0], frames[:, 1], batch.target.tolist(), strict=True):
        assert torch.equal(before.roll(list(DIRECTIONS.values())[direction], (0, 1)), after)


def test_spikes_differ_in_length_and_have_a_class_each_or_a_step() -> None:
    store = SpikesSynthetic(size=32, length=20).store()
    assert store.description.signals == {"spikes": SignalShape((24,), 20, "bool")}
    lengths = store.split("train").lengths("spikes")
    assert (int(lengths.min()), int(lengths.max())) == (10, 20)
    steps = SpikesSynthetic(size=32, length=20, per_step=True).store()
    assert steps.description.task.per_step
    batch = steps.split("train").batch(torch.arange(32))
    assert batch.target is not None
    assert batch.target_valid is not None
    assert torch.equal(batch.target_valid, batch.signals["spikes"].mask)
    changes = [len(row[valid].unique()) for row, valid in zip(batch.target, batch.target_valid, strict=True)]
    assert set(changes) == {1, 2}


def arrays(store: Store, features: Callable[[torch.Tensor], torch.Tensor]) -> list[np.ndarray]:
    """Features and targets of train, then of test."""
    found = []
    for split in ("train", "test"):
        batch = store.split(split).batch(torch.arange(len(store.split(split))))
        assert batch.target is not None
        (signal,) = batch.signals.values()
        found += [features(signal.values.float()).flatten(1).numpy(), batch.target.numpy()]
    return found


@pytest.mark.parametrize(
    ("store", "features"),
    [
        # How often a pixel that fires was next to one that fired the step before, by direction.
        (
            lambda: FramesSynthetic().store(),
            lambda x: torch.stack(
                [(x[:, 1:, 0] * x[:, :-1, 0].roll(by, (2, 3))).mean((1, 2, 3)) for by in list(DIRECTIONS.values())[:4]],
                1,
            ),
        ),
        (lambda: SpikesSynthetic().store(), lambda x: x[:, :20].reshape(len(x), 2, 10, -1).mean(1)),
    ],
    ids=["frames", "spikes"],
)
def test_a_line_through_the_right_features_finds_the_class(
    store: Callable[[], Store], features: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    x, y, z, known = arrays(store(), features)
    scale = x.std(0) + 1e-6
    model = LogisticRegression(max_iter=500).fit(x / scale, y)
    assert model.score(z / scale, known) > 0.9


def test_quantities_are_in_the_series() -> None:
    def features(x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft(x, dim=1).abs()[:, :8].mean(2)
        return torch.cat([x.mean((1, 2))[:, None], x.std(1).mean(1, keepdim=True), spectrum], 1)

    store = SeriesSynthetic().store()
    assert store.description.task == TaskEntry("regression", QUANTITIES, False)
    x, y, z, known = arrays(store, features)
    squares = PolynomialFeatures(2)
    model = LinearRegression().fit(squares.fit_transform(x), y)
    left = ((model.predict(squares.transform(z)) - known) ** 2).mean(0) / known.var(0)
    assert (left < 0.35).all(), left


@pytest.mark.parametrize(
    ("target", "params", "said"),
    [
        (FramesSynthetic, {"classes": 9}, r"classes is 9.*at most 8"),
        (FramesSynthetic, {"side": 3}, r"frames-synthetic: side is 3; it must be at least 4"),
        (FramesSynthetic, {"form": "films"}, r"form is events or pictures"),
        (SpikesSynthetic, {"rate": 0.0}, r"rate is 0\.0; a rate is in \(0, 1\]"),
        (SpikesSynthetic, {"classes": 1}, r"spikes-synthetic: classes is 1; it must be at least 2"),
        (SeriesSynthetic, {"noise": -1.0}, r"series-synthetic: noise is -1\.0"),
        (SeriesSynthetic, {"seed": -1}, r"series-synthetic: seed is -1; it must be at least 0"),
    ],
)
def test_arguments_out_of_range(target: type[Any], params: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        target(**params)


@pytest.mark.parametrize("kind", [Multilabel, Multiclass, Regression])
@pytest.mark.parametrize("per_step", [False, True])
def test_made_up_batches_are_of_every_dtype_and_task(kind: type[Task], per_step: bool) -> None:
    signals = {
        "spikes": SignalShape((5,), 7, "bool"),
        "frames": SignalShape((1, 4, 4), 2, "uint8", ragged=False),
        "words": SignalShape((), 6, "int64"),
    }
    task = kind(("a", "b", "c"), per_step)
    batch = made_up(signals, task, 8, seed=1)
    for key, shape in signals.items():
        found = batch.signals[key]
        assert found.values.shape == (8, shape.length, *shape.shape)
        assert str(found.values.dtype) == f"torch.{shape.dtype}"
        assert (found.valid is not None) == shape.ragged
    assert batch.target is not None
    assert batch.target.shape == (8, *((7,) if per_step else ()), *(() if task.name == "multiclass" else (3,)))
    assert (batch.target_valid is not None) == per_step
    assert torch.equal(batch.target, made_up(signals, task, 8, seed=1).target)  # type: ignore[arg-type]
