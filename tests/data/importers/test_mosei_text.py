"""Importing CMU-MOSEI's transcripts with vectors of words or encodings of segments."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.data.importers.run_importer import import_data
from neurozoo.data.store import Store, feature_shape
from neurozoo.errors import DataError

HEADER = "video_id,segment_id,start,end,split,sentiment,happy,sad,text"
ROWS = (
    'a,0,0.0,2.0,train,1.0,0.66,0.0,"Good, good day"',
    "a,1,2.0,4.0,train,-1.0,0.0,1.0,it's a zebra",
    "b,0,0.0,2.0,valid,0.0,0.0,0.0,Zebra!",
    "c,0,0.0,2.0,test,2.0,2.0,0.33,a good good bad day unseen",
)
VECTORS = {"good": (1, 0), "day": (0, 1), "a": (2, 2), "it": (3, 0), "'s": (0, 3), "bad": (-1, -1)}

Imported = Callable[..., Store]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "transcripts.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{word} {x} {y}\n" for word, (x, y) in VECTORS.items()))
    return path


@pytest.fixture
def imported(table: Path, glove: Path, tmp_path: Path) -> Imported:
    def make(**options: object) -> Store:
        return import_data("mosei-text", table, tmp_path / "store", **({"vectors": str(glove), "length": 4} | options))

    return make


def rows(store: Store, split: str, sample: int, modality: str = "text") -> list[list[float]]:
    batch = store.split(split).batch(torch.tensor([sample]))
    kept: list[list[float]] = batch.signals[modality].values[0][batch.signals[modality].mask[0]].tolist()
    return kept


def test_words_become_their_vectors_and_labels_what_was_seen(imported: Imported) -> None:
    store = imported()
    assert store.description.task.outputs == ("happy", "sad")
    assert dict(store.description.splits) == {"train": 2, "valid": 1, "test": 1}
    assert store.description.signals == {"text": feature_shape(2, 4), "word-ids": feature_shape(1, 6)}
    assert store.split("train").ids == ("a[0]", "a[1]")
    assert rows(store, "train", 0) == [[1, 0], [1, 0], [0, 1]]
    assert rows(store, "train", 1) == [[3, 0], [0, 3], [2, 2]]
    assert rows(store, "valid", 0) == []
    assert rows(store, "test", 0) == [[2, 2], [1, 0], [1, 0], [-1, -1]]
    assert store.split("train").target.tolist() == [[1, 0], [0, 1]]
    assert store.split("valid").target.tolist() == [[0, 0]]
    origin = store.description.origin
    assert origin["words"] == {
        "modality": "word-ids",
        "tokens": 14,
        "types": 8,
        "types_with_vector": 6,
        "tokens_with_vector": 11,
    }
    assert (origin["segments_without_vector"], origin["segments_cut"]) == (1, 1)
    assert origin["options"]["vectors"] == "vectors.txt"


def test_ids_of_words_with_a_vector_come_first_by_their_count_in_train(imported: Imported) -> None:
    store = imported()
    # good 2 in train; 's a day it 1 each; bad 0. Without a vector: zebra 1, unseen 0.
    assert rows(store, "train", 0, "word-ids") == [[1], [1], [4]]
    assert rows(store, "train", 1, "word-ids") == [[5], [2], [3], [7]]
    assert rows(store, "test", 0, "word-ids") == [[3], [1], [1], [6], [4], [8]]


def test_choices(imported: Imported) -> None:
    store = imported(unknown="zero", keep="last", above=0.5)
    assert rows(store, "train", 1) == [[3, 0], [0, 3], [2, 2], [0, 0]]
    assert rows(store, "valid", 0) == [[0, 0]]
    assert rows(store, "test", 0) == [[1, 0], [-1, -1], [0, 1], [0, 0]]
    assert store.split("test").target.tolist() == [[1, 0]]


def test_folds_decide_the_splits_where_they_are_given(imported: Imported, tmp_path: Path) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"train": ["c"], "valid": ["b"], "test": ["a"]}))
    store = imported(folds=str(folds))
    assert store.split("train").ids == ("c[0]",)
    assert store.split("test").ids == ("a[0]", "a[1]")


@pytest.mark.parametrize("form", ["word2vec", "npz"])
def test_vectors_in_their_other_forms(imported: Imported, tmp_path: Path, form: str) -> None:
    if form == "npz":
        path = tmp_path / "vectors.npz"
        np.savez(path, words=np.array(list(VECTORS)), vectors=np.array(list(VECTORS.values()), np.float64))
    else:
        path = tmp_path / "vectors.vec"
        lines = [f"{len(VECTORS) + 1} 2", "of course 9 9", *(f"{w} {x:.1f} {y:.1f} " for w, (x, y) in VECTORS.items())]
        path.write_text("\n".join(lines) + "\n")
    assert rows(imported(vectors=str(path)), "train", 0) == [[1, 0], [1, 0], [0, 1]]


def test_encodings_of_tokens_and_of_whole_segments(imported: Imported, tmp_path: Path) -> None:
    path = tmp_path / "encoded.npz"
    some = {"a[0]": np.ones((5, 3)), "a[1]": np.full(3, 2.0), "b[0]": np.ones((1, 3)), "c[0]": np.ones((2, 3))}
    np.savez(path, **some)
    store = imported(vectors=str(path))
    assert store.description.signals["text"] == feature_shape(3, 4)
    assert rows(store, "train", 0) == [[1, 1, 1]] * 4
    assert rows(store, "train", 1) == [[2, 2, 2]]
    assert store.description.origin["words"]["types_with_vector"] is None
    del some["b[0]"]
    np.savez(path, **some)
    with pytest.raises(DataError, match=r"no encoding of segment b\[0\]; the ids are such as 'a\[0\]'"):
        import_data("mosei-text", tmp_path / "transcripts.csv", tmp_path / "other", vectors=str(path))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a,0,0,1,train,0,0,0,again", r"transcripts.csv:6: segment a\[0\] is in line 2 already"),
        ("d,0,0,1,train,0,0,hello", r"transcripts.csv:6: 8 values for 9 columns"),
        ("d,0,0,1,dev,0,0,0,hello", r"transcripts.csv:6: the split is 'dev'; give one of train, valid, test"),
        ("d,0,0,1,train,0,nan,0,hello", r"transcripts.csv:6: happy is 'nan', which is not a finite number"),
        ("d,0,0,1,train,0,much,0,hello", r"transcripts.csv:6: happy is 'much', which is not a finite number"),
    ],
)
def test_a_bad_line_is_named(table: Path, imported: Imported, tmp_path: Path, line: str, told: str) -> None:
    table.write_text(table.read_text() + line + "\n")
    with pytest.raises(DataError, match=told):
        imported()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the columns are none; needed are video_id"),
        (
            "id,text\n1,hello\n",
            "the columns are id, text; needed are video_id, segment_id, start, end, split, ",
        ),
        (HEADER + "\n", "it has no row, or no video that the folds name"),
    ],
)
def test_another_table_is_refused(table: Path, imported: Imported, text: str, told: str) -> None:
    table.write_text(text)
    with pytest.raises(DataError, match=told):
        imported()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty; give a word and its numbers per line"),
        ("good 1 0\nday 1\n", "vectors.txt:2: 2 values; give a word and its 2 numbers"),
        ("good 1 zero\n", r"vectors.txt:1: not a word and its numbers"),
        ("GOOD 1 0\n", "no word of the transcripts has a vector; give a file of word vectors, in lower case"),
        ("good\n", "give a word and its D numbers"),
    ],
)
def test_other_vectors_are_refused(imported: Imported, glove: Path, text: str, told: str) -> None:
    glove.write_text(text)
    with pytest.raises(DataError, match=told):
        imported()


def test_npz_of_another_form_is_refused(imported: Imported, tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    np.savez(path, words=np.array(["good", "day"]), vectors=np.ones((3, 2)))
    with pytest.raises(DataError, match=r"vectors float64 of shape \[3, 2\]; give text \[V\] and numbers \[V, D\]"):
        imported(vectors=str(path))
    np.savez(path, **{"a[0]": np.ones((2, 3)), "a[1]": np.ones((2, 4))})
    with pytest.raises(DataError, match=r"its arrays have \[3, 4\] features; give vectors of one dimension D"):
        imported(vectors=str(path))
    np.savez(path, **{"a[0]": np.ones((2, 3, 4))})
    with pytest.raises(DataError, match=r"'a\[0\]' is float64 of shape \[2, 3, 4\]"):
        imported(vectors=str(path))


def test_not_finite_values_are_counted(imported: Imported, glove: Path) -> None:
    glove.write_text(glove.read_text().replace("good 1 0", "good nan 0"))
    store = imported()
    assert store.non_finite["text"] == 4
    assert rows(store, "train", 0)[-1] == [0, 1]


def test_the_real_transcripts(tmp_path: Path) -> None:
    folder = os.environ.get("NEUROZOO_TEST_DATA")
    if folder is None:
        pytest.skip("NEUROZOO_TEST_DATA is not set: CMU-MOSEI's transcripts")
    source, vectors = Path(folder) / "mosei" / "text_emotions.csv", Path(folder) / "glove" / "glove_1970x300.npz"
    store = import_data("mosei-text", source, tmp_path / "store", vectors=str(vectors))
    assert dict(store.description.splits) == {"train": 15_363, "valid": 1_773, "test": 4_360}
    assert store.description.task.outputs == ("happy", "sad", "anger", "surprise", "disgust", "fear")
    words = store.description.origin["words"]
    assert words["tokens_with_vector"] / words["tokens"] == pytest.approx(0.7643, abs=1e-4)
