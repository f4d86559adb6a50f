"""The SYNTHETIC stand-in: frozen, deterministic, and with something to learn in every modality."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score
from sklearn.preprocessing import StandardScaler

from neurozoo.data.store import Store, feature_shape
from neurozoo.data.synthetic.emotion_events import EmotionEvents, statistics
from neurozoo.data.synthetic.mosei import MoseiSynthetic, made_up
from neurozoo.errors import DataError
from neurozoo.tasks.multilabel import Multilabel

FROZEN_LABELS = [[0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
FROZEN_WORDS = [17, 26, 13, 16]
FROZEN_VALUES = [[0.0806763, -0.105421], [0.145786, -0.458445], [0.0107069, -0.0626097]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROZOO_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def store(home: Path) -> Store:
    return MoseiSynthetic(size=1280).store()


def test_shapes_and_splits_are_those_of_mosei(store: Store) -> None:
    description = store.description
    assert description.signals == {
        "text": feature_shape(300, 60),
        "audio": feature_shape(74, 60),
        "vision": feature_shape(35, 60),
    }
    assert description.task.outputs == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    assert description.splits == {"train": 1280, "valid": 147, "test": 365}
    assert MoseiSynthetic().splits == {"train": 16326, "valid": 1871, "test": 4659}


def test_it_says_synthetic(store: Store) -> None:
    assert store.description.synthetic
    assert "SYNTHETIC" in store.description.origin["source"]
    assert "nothing compares with the paper" in store.description.origin["source"]
    assert "synthetic" in store.path.name
    assert all(name.startswith("synthetic-") for name in store.split("test").ids)


def test_it_is_made_once(store: Store) -> None:
    written = (store.path / "dataset.json").stat().st_mtime_ns
    again = MoseiSynthetic(size=1280).store()
    assert again.path == store.path
    assert (again.path / "dataset.json").stat().st_mtime_ns == written


def test_a_damaged_one_says_what_to_do(home: Path) -> None:
    broken = MoseiSynthetic(size=3).store()
    (broken.path / "train-00000.safetensors").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"truncated.*SYNTHETIC: remove .*mosei-synthetic-v1-3-7-60 to generate it again"
    ):
        MoseiSynthetic(size=3).store()


def test_a_smaller_one_is_the_beginning_of_a_larger_one(store: Store) -> None:
    small = MoseiSynthetic(size=300).store()
    for split, n in small.description.splits.items():
        places = torch.arange(n)
        one, other = small.split(split).batch(places), store.split(split).batch(places)
        for name in one.signals:
            assert torch.equal(one.signals[name].values, other.signals[name].values)
            assert torch.equal(one.signals[name].mask, other.signals[name].mask)
        assert torch.equal(small.split(split).target, store.split(split).target[:n])
        assert small.split(split).ids == store.split(split).ids[:n]


def test_the_seed_decides() -> None:
    one, same, other = (EmotionEvents(seed, 60).block("train", 1) for seed in (7, 7, 8))
    for name in one.features:
        assert np.array_equal(one.features[name], same.features[name])
        assert not np.array_equal(one.features[name], other.features[name])


def test_the_generator_is_frozen() -> None:
    block = EmotionEvents(7, 60).block("train", 0)
    found = [[float(x[0, -1, j]) for j in range(2)] for x in block.features.values()]
    assert block.labels[:4].tolist() == FROZEN_LABELS
    assert block.mask.sum(1)[:4].tolist() == FROZEN_WORDS
    np.testing.assert_allclose(found, FROZEN_VALUES, rtol=1e-4)


def test_label_sets_and_lengths_follow_the_real_frequencies() -> None:
    draw = EmotionEvents(7, 60)
    blocks = [draw.block("train", i) for i in range(12)]
    labels = np.concatenate([block.labels for block in blocks])
    words = np.concatenate([block.mask.sum(1) for block in blocks])
    sets = statistics()["label_sets"]
    total = sum(sets.values())
    drawn = ["".join(map(str, row)) for row in labels]
    for bits, count in list(sets.items())[:8]:
        share = count / total
        # Four standard errors of a share.
        assert abs(drawn.count(bits) / len(drawn) - share) < 4 * np.sqrt(share * (1 - share) / len(drawn))
    assert set(drawn) <= set(sets)
    known = statistics()["words_per_segment"]
    np.testing.assert_allclose(np.percentile(words, known["percent"]), known["words"], atol=2)
    assert words.min() >= 1
    assert words.max() <= 60


def test_padding_is_on_the_left_and_zero(store: Store) -> None:
    batch = store.split("train").batch(torch.arange(256))
    for name, signal in batch.signals.items():
        mask = signal.mask
        assert mask[:, -1].all()
        assert (mask.int().diff(dim=1) >= 0).all(), "padding after a word"
        assert (batch.signals[name].values[~mask] == 0).all()
        assert (batch.signals[name].values[mask] != 0).any(1).all()
        assert torch.equal(mask, batch.signals["text"].mask)


def test_scales_and_autocorrelation_are_the_real_ones() -> None:
    draw = EmotionEvents(7, 60)
    blocks = [draw.block("train", i) for i in range(4)]
    mask = np.concatenate([block.mask for block in blocks])
    pairs = mask[:, 1:] & mask[:, :-1]
    for name, of in statistics()["features"].items():
        x = np.concatenate([block.features[name] for block in blocks]).astype(np.float64)
        std = x[mask].std(0)
        np.testing.assert_allclose(np.percentile(std, of["std_percent"]), of["std"], rtol=0.15, atol=1e-3)
        assert np.abs(x).max() <= of["max_abs"]
        moving = std > 0
        before, after = x[:, :-1][pairs][:, moving], x[:, 1:][pairs][:, moving]
        lag1 = (before * after).mean(0) / std[moving] ** 2
        assert np.median(lag1) == pytest.approx(of["lag1"], abs=0.05)
        if name == "audio":
            assert (~moving).sum() == 1, "one feature of COVAREP is constant"
            assert np.median((x[mask] ** 4).mean(0)[moving] / std[moving] ** 4) > 6, "heavy tails"


def test_every_modality_says_something_and_all_say_more(store: Store) -> None:
    def means(split: str, names: list[str]) -> np.ndarray:
        batch = store.split(split).batch(torch.arange(len(store.split(split))))
        return np.concatenate(
            [(batch.signals[n].values.sum(1) / batch.signals[n].mask.sum(1, keepdim=True)).numpy() for n in names],
            axis=1,
        )

    truth, known = store.split("train").target.numpy(), store.split("test").target.numpy()

    def scores(names: list[str]) -> tuple[float, float]:
        scaler = StandardScaler().fit(means("train", names))
        x, z = scaler.transform(means("train", names)), scaler.transform(means("test", names))
        models = [LogisticRegression(C=0.01, max_iter=300).fit(x, column) for column in truth.T]
        p = np.stack([model.predict_proba(z)[:, 1] for model in models], axis=1)
        return f1_score(known, p > 0.35, average="micro"), average_precision_score(known, p, average="macro")

    chance = known.mean()
    happy = f1_score(known, np.arange(6)[None] == np.zeros((len(known), 1)), average="micro")
    alone = {name: scores([name]) for name in ("text", "audio", "vision")}
    together = scores(["text", "audio", "vision"])
    for micro_f1, precision in alone.values():
        assert micro_f1 > happy + 0.04
        assert precision > chance + 0.15
        assert together[0] > micro_f1
        assert together[1] > precision
    assert 0.55 < together[0] < 0.75


def test_a_short_one(home: Path) -> None:
    store = MoseiSynthetic(size=1, seed=0, length=1).store()
    assert store.description.splits == {"train": 1, "valid": 1, "test": 1}
    assert store.split("train").batch(torch.tensor([0])).signals["text"].values.shape == (1, 1, 300)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"seed": -1}, {"length": 0}])
def test_arguments_out_of_range(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(DataError, match=rf"mosei-synthetic: {name} is {wrong[name]}; it must be at least"):
        MoseiSynthetic(**wrong)


def test_made_up_values_have_the_shape_asked_for() -> None:
    modalities = {"text": feature_shape(3, 5), "timbre": feature_shape(7, 1)}
    batch = made_up(modalities, Multilabel(("a", "b")), 64, seed=1)
    assert len(batch) == 64
    for name, modality in modalities.items():
        assert batch.signals[name].values.shape == (64, modality.length, modality.dim)
        assert batch.signals[name].mask.any(1).all(), "a sample without any valid position"
        assert (batch.signals[name].values[~batch.signals[name].mask] == 0).all()
    assert batch.target is not None
    assert batch.target.shape == (64, 2)
    assert set(batch.target.unique().tolist()) == {0, 1}
    again = made_up(modalities, Multilabel(("a", "b")), 64, seed=1)
    assert torch.equal(batch.signals["text"].values, again.signals["text"].values)
