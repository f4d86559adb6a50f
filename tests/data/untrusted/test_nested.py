"""SYNTHETIC files with the keys of TAILOR's, MulT's and MMSA's, imported by the command."""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.store import Store

SIZES = {"train": 5, "valid": 2, "test": 3}
DIMS = {"text": 30, "audio": 7, "vision": 4}
EMOTIONS = ["happy", "sad", "anger", "surprise", "disgust", "fear"]
NAMES = {"<blank>": 0, "<unk>": 1, "<s>": 2, "</s>": 3} | {name: i for i, name in enumerate(EMOTIONS, start=4)}
KEYS = {"text": "src-text", "audio": "src-audio", "vision": "src-visual"}

Content = dict[str, Any]


def sequences(samples: int, length: int, dim: int, seed: int = 0) -> np.ndarray:
    """Left-padded by as many rows as the sample's place, modulo the length."""
    x = np.random.default_rng(seed).normal(size=(samples, length, dim)).astype(np.float32)
    for i in range(samples):
        x[i, : i % length] = 0
    return x


def tailor_content(length: int = 6) -> Content:
    content: Content = {"dict": {"tgt": NAMES}, "settings": argparse.Namespace(batch_size=64)}
    for split, n in SIZES.items():
        arrays = {key: torch.from_numpy(sequences(n, length, DIMS[name])) for name, key in KEYS.items()}
        content[split] = {**arrays, "tgt": [[2, *([4, 4 + i % 5 + 1] if i else []), 3] for i in range(n)]}
    content["train"]["src-audio"][1, 3, 2] = -torch.inf
    return content


def mult_content(length: int = 6) -> Content:
    return {
        split: {
            **{name: sequences(n, length if name == "text" else 2 * length, dim) for name, dim in DIMS.items()},
            "labels": np.linspace(-3, 3, n, dtype=np.float32).reshape(n, 1, 1),
            "id": np.array([[f"v{i}", "0.0", "1.5"] for i in range(n)]),
        }
        for split, n in SIZES.items()
    }


def mmsa_content(length: int = 6) -> Content:
    content: Content = {}
    for split, n in SIZES.items():
        valid = np.arange(length) < 3
        content[split] = {
            **{name: np.ones((n, length, dim), np.float32) for name, dim in DIMS.items()},
            "raw_text": np.array(["some words"] * n, dtype=object),
            "id": [f"v{i}$_$2" for i in range(n)],
            "text_bert": np.stack([np.stack([valid * 7.0, valid * 1.0, valid * 0.0])] * n),
            "audio_lengths": [2] * n,
            "regression_labels": np.linspace(-3, 3, n, dtype=np.float32),
        }
    return content


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs ``data import FORMAT FILE store`` with options; returns status and error output."""

    def run(format: str, path: Path, *options: str) -> tuple[int, str]:
        given = [word for option in options for word in ("--option", option)]
        status = main(["data", "import", format, str(path), str(tmp_path / "store"), *given])
        return status, capsys.readouterr().err

    return run


@pytest.fixture
def tailor(tmp_path: Path) -> Callable[[Content], Path]:
    def write(content: Content) -> Path:
        torch.save(content, tmp_path / "train_valid_test.pt")
        return tmp_path / "train_valid_test.pt"

    return write


def pickled(path: Path, content: Content) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


def test_a_tailor_file(imported: Any, tailor: Any, tmp_path: Path) -> None:
    content = tailor_content()
    assert imported("tailor", tailor(content)) == (0, "")
    store = Store(tmp_path / "store")
    assert store.description.task.outputs == tuple(EMOTIONS)
    assert dict(store.description.splits) == SIZES
    assert store.non_finite["audio"] == 1
    batch = store.split("train").batch(torch.arange(5))
    assert batch.target is not None
    assert batch.target[:3].tolist() == [[0] * 6, [1, 0, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0]]
    assert batch.signals["text"].mask[2].tolist() == [False, False, True, True, True, True]
    assert torch.equal(batch.signals["vision"].values, content["train"]["src-visual"])
    assert batch.signals["audio"].values[1, 3, 2] == 0


def test_the_order_of_the_labels_is_the_files_and_never_guessed(imported: Any, tailor: Any, tmp_path: Path) -> None:
    content = tailor_content()
    content["dict"]["tgt"] = NAMES | {"happy": 5, "sad": 4}
    assert imported("tailor", tailor(content))[0] == 0
    assert Store(tmp_path / "store").description.task.outputs[:2] == ("sad", "happy")
    status, error = imported("tailor", tailor(content), "label_order=" + ",".join(EMOTIONS))
    assert status == 2
    assert "says the labels are sad, happy" in error
    del content["dict"]
    status, error = imported("tailor", tailor(content))
    assert status == 2
    assert "does not say what its labels are" in error
    assert "label_order=NAME,NAME,..." in error


def test_a_format_that_is_guessed(imported: Any, tailor: Any, tmp_path: Path) -> None:
    status, said = imported("guess", tailor(tailor_content()))
    assert status == 0
    assert "seems to be tailor: splits with src-text and tgt" in said
    assert dict(Store(tmp_path / "store").description.splits) == SIZES
    status, said = imported("guess", tmp_path / "store")
    assert status == 2
    assert "a store already" in said


def test_a_stated_order(imported: Any, tailor: Any, tmp_path: Path) -> None:
    content = tailor_content()
    del content["dict"]
    assert imported("tailor", tailor(content), "label_order=a,b,c,d,e,f")[0] == 0
    assert Store(tmp_path / "store").description.task.outputs == tuple("abcdef")


def test_unaligned_features_with_its_labels(imported: Any, tailor: Any, tmp_path: Path) -> None:
    noalign = pickled(tmp_path / "noalign.pkl", mult_content())
    assert imported("tailor", tailor(tailor_content()), f"features={noalign}")[0] == 0
    modalities = Store(tmp_path / "store").description.signals
    assert {name: modalities[name].length for name in DIMS} == {"text": 6, "audio": 12, "vision": 12}


def _no_audio(content: Content) -> None:
    del content["valid"]["src-audio"]


def _one_sample_less(content: Content) -> None:
    content["train"]["src-text"] = content["train"]["src-text"][1:]


def _unknown_label(content: Content) -> None:
    content["test"]["tgt"][1] = [2, 11, 3]


def _no_end(content: Content) -> None:
    content["test"]["tgt"][2] = [2, 4]


def _flat(content: Content) -> None:
    content["train"]["src-visual"] = content["train"]["src-visual"][:, 0]


def _no_split(content: Content) -> None:
    del content["test"]


def _command(content: Content) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("exit 1",)

    content["settings"] = Harm()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_no_audio, "'valid' has no 'src-audio'; there are: src-text, src-visual, tgt"),
        (_one_sample_less, "'src-text' has 4 samples, and"),
        (_unknown_label, "'tgt', sample 1 has the ids [2, 11, 3]; labels are 4, 5, 6, 7, 8, 9, each once"),
        (_no_end, "'tgt', sample 2 is [2, 4]; a list of label ids from 2 to 3 is needed"),
        (_flat, "'src-visual' is float32 of shape [5, 4]; numbers with 3 axes are needed"),
        (_no_split, "has no 'test'; there are: dict, settings, train, valid"),
        (_command, "system"),
    ],
)
def test_a_malformed_file_gets_one_line(
    imported: Any, tailor: Any, tmp_path: Path, harm: Callable[[Content], None], words: str
) -> None:
    content = tailor_content()
    harm(content)
    status, error = imported("tailor", tailor(content))
    assert status == 2
    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "store").exists()


def test_mult_with_emotions_of_a_tailor_file(imported: Any, tailor: Any, tmp_path: Path) -> None:
    labels = tailor(tailor_content())
    assert imported("mult", pickled(tmp_path / "mosei_senti_data.pkl", mult_content()), f"labels={labels}")[0] == 0
    store = Store(tmp_path / "store")
    assert store.description.task.outputs == tuple(EMOTIONS)
    assert store.description.signals["audio"].length == 12


def test_mult_with_sentiment_by_named_thresholds(imported: Any, tmp_path: Path) -> None:
    path = pickled(tmp_path / "mosei_senti_data.pkl", mult_content())
    assert imported("mult", path, "thresholds=negative<0,positive>=1.5")[0] == 0
    store = Store(tmp_path / "store")
    assert store.description.task.outputs == ("negative", "positive")
    labels = store.split("train").batch(torch.arange(5)).target
    assert labels is not None
    assert labels.tolist() == [[1, 0], [1, 0], [0, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "holds sentiment alone; give labels=FILE"),
        (("thresholds=positive",), "the threshold 'positive' is malformed"),
        (("thresholds=a<0,a>0",), "name a label twice"),
    ],
)
def test_sentiment_alone_needs_labels(imported: Any, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    status, error = imported("mult", pickled(tmp_path / "m.pkl", mult_content()), *options)
    assert status == 2
    assert words in error


def test_labels_of_other_samples_are_refused(imported: Any, tailor: Any, tmp_path: Path) -> None:
    content = mult_content()
    content["valid"] = {key: value[1:] for key, value in content["valid"].items()}
    status, error = imported("mult", pickled(tmp_path / "m.pkl", content), f"labels={tailor(tailor_content())}")
    assert status == 2
    assert "'valid': 'labels' has 1 samples" in error


def test_emotions_from_a_label_file_by_the_samples_ids(imported: Any, tmp_path: Path) -> None:
    """SYNTHETIC labels.csd: each video happy in its row 0, sad in its row 2."""
    labels = tmp_path / "labels.csd"
    with h5py.File(labels, "w") as file:
        for video in (f"{split}{i}" for split, n in SIZES.items() for i in range(n)):
            group = file.create_group(f"All Labels/data/{video}")
            group["intervals"] = [[0.0, 1.5], [1.5, 3.0], [3.0, 4.0]]
            group["features"] = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 2]], np.float32)
        file.create_group("All Labels/metadata")["dimension names"] = [json.dumps(["sentiment", "happy", "sad"])]
    mult, mmsa = mult_content(), mmsa_content()
    for split, n in SIZES.items():
        mult[split]["id"] = np.array([[f"{split}{i}", "0.0", "1.5"] for i in range(n)])
        mmsa[split]["id"] = [f"{split}{i}$_$2" for i in range(n)]
    for format, content, wanted in (("mult", mult, [1, 0]), ("mmsa", mmsa, [0, 1])):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        assert imported(format, pickled(tmp_path / f"{format}.pkl", content), f"labels={labels}") == (0, "")
        store = Store(tmp_path / "store")
        assert store.description.task.outputs == ("happy", "sad")
        assert store.split("train").target.tolist() == [wanted] * 5
    mmsa["valid"]["id"][1] = "nobody$_$2"
    shutil.rmtree(tmp_path / "store")
    status, error = imported("mmsa", pickled(tmp_path / "mmsa.pkl", mmsa), f"labels={labels}")
    assert status == 2
    assert "'valid': 'id', sample 1 is of the video 'nobody'" in error
    assert not (tmp_path / "store").exists()


def test_mmsa_takes_the_files_own_lengths(imported: Any, tmp_path: Path) -> None:
    path = pickled(tmp_path / "unaligned_50.pkl", mmsa_content())
    assert imported("mmsa", path, "thresholds=positive>0")[0] == 0
    split = Store(tmp_path / "store").split("test")
    batch = split.batch(torch.arange(3))
    assert split.ids == ("v0$_$2", "v1$_$2", "v2$_$2")
    assert batch.signals["text"].mask[0].tolist() == [True] * 3 + [False] * 3
    assert batch.signals["audio"].mask[0].tolist() == [True] * 2 + [False] * 4
    assert batch.signals["vision"].mask[0].tolist() == [True] * 6


def test_mmsa_lengths_that_are_none(imported: Any, tmp_path: Path) -> None:
    content = mmsa_content()
    content["valid"]["audio_lengths"] = [2, 7]
    status, error = imported("mmsa", pickled(tmp_path / "m.pkl", content), "thresholds=positive>0")
    assert status == 2
    assert "'valid': 'audio_lengths' is malformed; a length from 0 to 6 for each of 2 is needed" in error
