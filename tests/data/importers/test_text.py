"""Text of other people's files: encodings, line ends, ids and labels that are no text, files that systems leave."""

from __future__ import annotations

import codecs
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.data.importers.csd.labels import read_folds
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.importers.word_vectors import WordVectors, read_vectors
from neurozoo.data.store import Store
from neurozoo.errors import DataError

XML = '<labels xmlns="http://mulan.sourceforge.net/labels">\n<label name="a"></label>\n</labels>\n'
ARFF = "@relation x\n@attribute f numeric\n@attribute a {0,1}\n@data\n1,0\n2,1\n"
FOLDS = '{"train": ["a", "b"], "valid": ["c"], "test": ["d"]}\n'
VECTORS = "on 1 2\noff 3 4\n"
TABLE = "video_id,segment_id,start,end,split,happy,text\nv,0,0,1,train,1,on and off\nw,0,0,1,valid,0,on\n"

Encode = Callable[[str], bytes]
ENCODINGS: dict[str, Encode] = {
    "a byte order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 of the other order": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "all of it": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.fixture(params=ENCODINGS.values(), ids=list(ENCODINGS))
def encode(request: pytest.FixtureRequest) -> Encode:
    made: Encode = request.param
    return made


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "x.xml").write_text(XML)
    (folder / "x.arff").write_text(ARFF)
    return folder


def test_every_reader_of_text_reads_every_encoding(encode: Encode, songs: Path, tmp_path: Path) -> None:
    (songs / "x.arff").write_bytes(encode(ARFF))
    (songs / "x.xml").write_bytes(encode(XML))
    assert import_data("mulan", songs, tmp_path / "mulan").description.splits == {"train": 2}
    (tmp_path / "folds.json").write_bytes(encode(FOLDS))
    assert read_folds(tmp_path / "folds.json") == {"a": "train", "b": "train", "c": "valid", "d": "test"}
    (tmp_path / "folds.py").write_bytes(encode("".join(f"standard_{s}_fold = ['{s}']\n" for s in json.loads(FOLDS))))
    assert read_folds(tmp_path / "folds.py") == {"train": "train", "valid": "valid", "test": "test"}
    (tmp_path / "vectors.txt").write_bytes(encode(VECTORS))
    vectors = read_vectors(tmp_path / "vectors.txt", ["on", "off"])
    assert isinstance(vectors, WordVectors)
    assert {word: row.tolist() for word, row in vectors.vectors.items()} == {"on": [1, 2], "off": [3, 4]}
    (tmp_path / "table.csv").write_bytes(encode(TABLE))
    assert detect_format(tmp_path / "table.csv").format == "mosei-text"
    store = import_data("mosei-text", tmp_path / "table.csv", tmp_path / "text", vectors=str(tmp_path / "vectors.txt"))
    assert store.split("train").ids == ("v[0]",)
    assert store.description.task.outputs == ("happy",)


@pytest.mark.parametrize("name", ["x.arff", "folds.json", "table.csv"])
def test_what_is_no_text_is_named_with_its_line(name: str, songs: Path, tmp_path: Path) -> None:
    path = songs / name
    path.write_bytes(b"one\ntwo\n\xff\xfa")
    reads = {
        "x.arff": lambda: import_data("mulan", songs, tmp_path / "store"),
        "folds.json": lambda: read_folds(path),
        "table.csv": lambda: import_data("mosei-text", path, tmp_path / "store", vectors="none.txt"),
    }
    with pytest.raises(DataError, match=rf"{name}:3: byte 0xff is not UTF-8; save the file as UTF-8"):
        reads[name]()


def test_what_systems_leave_is_passed_over(songs: Path, tmp_path: Path) -> None:
    for name in (".DS_Store", "._x.xml", "._x.arff", "Thumbs.db", "desktop.ini"):
        (songs / name).write_bytes(b"\0\5\x16\7")
    (songs / "__MACOSX").mkdir()
    (songs / "__MACOSX" / "y.csd").write_bytes(b"")
    assert detect_format(songs).format == "mulan"
    assert import_data("mulan", songs, tmp_path / "store").description.splits == {"train": 2}
    talks = tmp_path / "talks"
    talks.mkdir()
    for split in ("train", "valid", "test"):
        np.savez(talks / f"t_{split}.npz", audio=np.ones((3, 2, 2)), y=np.arange(3)[:, None])
        (talks / f"._t_{split}.npz").write_bytes(b"\0\5\x16\7")
    assert import_data("mfn", talks, tmp_path / "mfn").description.splits == {"train": 3, "valid": 3, "test": 3}


@pytest.mark.parametrize("encoding", ["foo", "shift_jis", "idna"])
def test_xml_in_an_encoding_that_is_not_known(encoding: str, songs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (songs / "x.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?>\n{XML}')
    assert main(["data", "import", "mulan", str(songs), str(songs / "store")]) == 2
    error = capsys.readouterr().err
    assert "x.xml cannot be read as XML" in error
    assert len(error.splitlines()) == 1


def mmsa(**fields: Any) -> dict[str, Any]:
    """An MMSA file of three samples a split, with some fields of train replaced."""
    content: dict[str, Any] = {}
    for split in ("train", "valid", "test"):
        arrays = {name: np.ones((3, 2, 2), np.float32) for name in ("text", "audio", "vision")}
        content[split] = {**arrays, "id": ["a", "b", "c"], "regression_labels": np.array([-1.0, 1.0, 2.0])}
    content["train"] |= fields
    return content


def imported(tmp_path: Path, content: dict[str, Any]) -> Store:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content))
    return import_data("mmsa", path, tmp_path / "store", thresholds=["neg<0", "pos>0"])


@pytest.mark.parametrize("ids", [[b"a", b"b", b"c"], np.array([b"a", b"b", b"c"]), ("a", "b", "c"), [1, 2, 3.0]])
def test_ids_are_text(ids: Any, tmp_path: Path) -> None:
    wanted = ("1", "2", "3") if ids[0] == 1 else ("a", "b", "c")
    assert imported(tmp_path, mmsa(id=ids)).split("train").ids == wanted


FIELDS = [
    ({"id": None}, "'train': 'id' is a NoneType; a list of 3 is needed"),
    ({"id": 5}, "'train': 'id' is a int; a list of 3 is needed"),
    ({"id": np.array("a")}, "'train': 'id' is <U1 of shape \\[\\]; a list of 3 is needed"),
    ({"id": ["a", None, "c"]}, "'train': 'id'\\[1\\]: found None; a name is text or a number"),
    ({"id": ["a", ["b"], "c"]}, "'train': 'id'\\[1\\]: found \\['b'\\]; a name is text or a number"),
    ({"id": ["a", "\ud800", "c"]}, "holds half of a character pair"),
    ({"id": [b"a", b"\xff", b"c"]}, "is not UTF-8"),
    ({"regression_labels": None}, "'regression_labels' is a NoneType; numbers are needed"),
    ({"regression_labels": 3.0}, "'regression_labels' is of shape \\[\\]; one finite score a sample is needed"),
    ({"regression_labels": ["x", "y", "z"]}, "'regression_labels' is a list; numbers are needed"),
    ({"regression_labels": [[1], [1, 2], [3]]}, "'regression_labels' is ragged"),
    (
        {"regression_labels": np.ones(3, complex)},
        "'regression_labels' is complex128 of shape \\[3\\]; numbers are needed",
    ),
    ({"audio_lengths": [[1], [1, 2], [3]]}, "'audio_lengths' is ragged"),
    ({"text": None}, "'text' is a NoneType; numbers with 3 axes are needed"),
    (
        {name: np.ones((0, 2, 2)) for name in ("text", "audio", "vision")} | {"id": [], "regression_labels": []},
        "split 'train' has no sample",
    ),
]


@pytest.mark.parametrize(("fields", "words"), FIELDS, ids=lambda value: str(value)[:40])
def test_a_field_of_another_type_is_named(fields: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        imported(tmp_path, mmsa(**fields))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("targets", [[[2, [4], 3]], [[2, 4.5, 3]], [{2: 3}], [None], [["2", 4, 3]], [[2, [4, 5], [3]]]])
def test_targets_of_another_type_are_named(targets: Any, tmp_path: Path) -> None:
    arrays = {key: np.ones((1, 2, 2), np.float32) for key in ("src-text", "src-audio", "src-visual")}
    content = {split: {**arrays, "tgt": targets} for split in ("train", "valid", "test")}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content | {"dict": {"tgt": {b"happy": 4, "sad": 5}}}))
    with pytest.raises(DataError, match=r"'tgt', sample 0 is .*a list of label ids from 2 to 3 is needed"):
        import_data("tailor", tmp_path / "file.pkl", tmp_path / "store")


def test_names_of_labels_and_letters_as_bytes(tmp_path: Path) -> None:
    arrays = {key: np.ones((2, 2, 2), np.float32) for key in ("src-text", "src-audio", "src-visual")}
    content = {split: {**arrays, "tgt": [[2, 4, 3], [2, 5, 3]]} for split in ("train", "valid", "test")}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content | {"dict": {"tgt": {b"happy": 4, "sad": 5}}}))
    store = import_data("tailor", tmp_path / "file.pkl", tmp_path / "store")
    assert store.description.task.outputs == ("happy", "sad")
    x, y = np.ones((6, 2, 2)), np.array([0, 1] * 3)
    np.savez(tmp_path / "letters.npz", x=x, y=y, letters=np.array([b"A", "\u00e9".encode()]))
    assert import_data("braille", tmp_path / "letters.npz", tmp_path / "b").description.task.outputs == ("A", "\u00e9")
    np.savez(tmp_path / "words.npz", words=np.array([b"on", b"off"]), vectors=np.ones((2, 3)))
    vectors = read_vectors(tmp_path / "words.npz", [])
    assert isinstance(vectors, WordVectors)
    assert set(vectors.vectors) == {"on", "off"}


def test_letters_that_are_no_characters(tmp_path: Path) -> None:
    for point in (0xD800, 0x110000):
        letters = np.array(["A", "B"])
        letters.view(np.uint32)[1] = point
        np.savez(tmp_path / "letters.npz", x=np.ones((6, 2, 2)), y=np.array([0, 1] * 3), letters=letters)
        with pytest.raises(DataError, match=r"letters\.npy holds characters that do not exist"):
            import_data("braille", tmp_path / "letters.npz", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_names_of_files_and_options_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"b\xff")
    folder.mkdir()
    path = folder / os.fsdecode(b"letters\xff.npz")
    np.savez(path, x=np.ones((6, 2, 2)), y=np.array([0, 1] * 3), letters=np.array(["A", "B"]))
    store = import_data("braille", path, tmp_path / "store")
    assert Store(store.path).description.origin["source"] == r"letters\udcff.npz"
    with pytest.raises(DataError, match=r"--letters: .* holds half of a character pair"):
        import_data("braille", path, tmp_path / "other", letters=["\udcff"])


def test_a_first_line_of_many_digits_and_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"1 {'9' * 5000}\non 1\n")
    vectors = read_vectors(path, ["1", "on"])
    assert isinstance(vectors, WordVectors)
    assert vectors.vectors["on"].tolist() == [1]
    monkeypatch.setattr("neurozoo.data.importers.word_vectors._LONGEST_LINE", 1000)
    path.write_text("on " + "1 " * 1000)
    with pytest.raises(DataError, match="a line of 1,000 characters or more"):
        read_vectors(path, ["on"])
