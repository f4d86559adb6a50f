"""A SYNTHETIC file of NEMu's form, imported by the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.store import Store, feature_shape

MOODS = ["sad", "excited", "lonely"]
SPECIAL = {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3}
SIZES = {"train": 3, "valid": 1, "test": 2}
WORDS = SPECIAL | {"Rain": 4, "sun": 5, "nameless": 6}

Content = dict[str, Any]
Imported = Callable[..., tuple[int, str]]


def content() -> Content:
    made: Content = {
        "dict": {"tgt": SPECIAL | {m: i for i, m in enumerate(MOODS, 4)}, "src-com": WORDS, "src-lyr": WORDS}
    }
    for split, n in SIZES.items():
        made[split] = {
            "src-com": [[2, 4, 5, 6, 3]] * n,
            "src-lyr": [[2, 3]] * (n - 1) + [[5, 1, 4, 0, 0]],
            "src-img": np.arange(n * 2, dtype=np.float32).reshape(n, 2),
            "src-aud": np.ones((n, 4, 3), np.float32),
            "tgt": [[2, 3]] + [[2, 4, 6, 3]] * (n - 1),
        }
    return made


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text("rain 1 2\nsun 3 4\nunused 0 0\n")
    return path


@pytest.fixture
def imported(tmp_path: Path, vectors: Path, capsys: pytest.CaptureFixture[str]) -> Imported:
    def run(given: Content, *options: str) -> tuple[int, str]:
        joblib.dump(given, tmp_path / "nemu.joblib")
        options = options or ("--vectors", str(vectors), "--length", "3")
        status = main(["data", "import", "nemu", str(tmp_path / "nemu.joblib"), str(tmp_path / "store"), *options])
        return status, capsys.readouterr().err

    return run


def test_words_covers_and_sound(imported: Imported, tmp_path: Path) -> None:
    assert imported(content()) == (0, "")
    store = Store(tmp_path / "store")
    assert store.description.task.outputs == tuple(MOODS)
    assert dict(store.description.splits) == SIZES
    assert store.description.signals == {
        "comments": feature_shape(2, 3),
        "lyrics": feature_shape(2, 3),
        "cover": feature_shape(2, 1),
        "audio": feature_shape(3, 4),
    }
    batch = store.split("train").batch(torch.arange(3))
    assert batch.target is not None
    assert batch.target.tolist() == [[0, 0, 0], [1, 0, 1], [1, 0, 1]]
    assert batch.signals["comments"].values[0].tolist() == [[1, 2], [3, 4], [0, 0]]
    assert batch.signals["comments"].mask[0].tolist() == [True, True, False]
    assert batch.signals["lyrics"].values[2].tolist() == [[3, 4], [1, 2], [0, 0]]
    assert not batch.signals["lyrics"].mask[:2].any()
    # One vector a song is there, even where it is zeros.
    assert batch.signals["cover"].mask.tolist() == [[True]] * 3
    assert store.description.origin["words"] == {
        "comments": {"tokens": 18, "tokens_with_vector": 12},
        "lyrics": {"tokens": 6, "tokens_with_vector": 6},
    }


def test_texts_that_are_vectors_need_none(imported: Imported, tmp_path: Path) -> None:
    given = content()
    for split, n in SIZES.items():
        for key in ("src-com", "src-lyr"):
            given[split][key] = np.ones((n, 5, 2), np.float32)
    assert imported(given, "--label_order", ",".join(MOODS)) == (0, "")
    assert Store(tmp_path / "store").description.signals["lyrics"] == feature_shape(2, 5)


def _no_vocabulary(given: Content) -> None:
    del given["dict"]["src-lyr"]


def _foreign_word(given: Content) -> None:
    given["test"]["src-com"] = [[2, 9, 3]] * 2


def _text(given: Content) -> None:
    given["valid"]["src-com"] = [["rain"]]


def _ragged_cover(given: Content) -> None:
    given["train"]["src-img"] = [np.ones(2), np.ones(3), np.ones(2)]


def _fewer_songs(given: Content) -> None:
    given["train"]["src-aud"] = np.ones((2, 4, 3))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_no_vocabulary, "'dict' has no 'src-lyr'; there are: tgt, src-com"),
        (_foreign_word, "'test': 'src-com', sample 0 has the word id 9, which the file's vocabulary lacks"),
        (_text, "'valid': 'src-com', sample 0 is a list; numbers are needed"),
        (_ragged_cover, "'train': 'src-img' is ragged"),
        (_fewer_songs, "'train': 'src-aud' has 2 samples, and"),
    ],
)
def test_a_malformed_file_gets_one_line(
    imported: Imported, tmp_path: Path, change: Callable[[Content], None], told: str
) -> None:
    given = content()
    change(given)
    status, error = imported(given)
    assert status == 2
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_word_ids_need_vectors_of_their_words(imported: Imported, tmp_path: Path) -> None:
    status, error = imported(content(), "--length", "3")
    assert status == 2
    assert "holds word ids; give vectors=FILE" in error
    other = tmp_path / "other.txt"
    other.write_text("pluie 1 2\n")
    status, error = imported(content(), "--vectors", str(other))
    assert status == 2
    assert "other.txt has vectors for none of the 7 words" in error
