from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.data.importers.run_importer import detect_format
from neurozoo.errors import DataError

SPLITS = ("train", "valid", "test")


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


def content(**values: object) -> dict[str, object]:
    return {split: dict(values) for split in SPLITS}


X = np.zeros((2, 3, 4), np.float32)


@pytest.mark.parametrize(
    ("made", "format", "words"),
    [
        (
            {**content(**{"src-text": X, "src-audio": X, "src-visual": X, "tgt": [[2, 3]] * 2}), "dict": {"tgt": {}}},
            "tailor",
            "neurozoo data import tailor {path} DEST\n",
        ),
        (
            content(**{"src-text": X, "src-audio": X, "src-visual": X, "tgt": [[2, 3]] * 2}),
            "tailor",
            "--label_order NAME,NAME,...",
        ),
        (
            {
                **content(**{"src-com": X, "src-lyr": X, "src-img": X, "src-aud": X, "tgt": [[2, 3]] * 2}),
                "dict": {"tgt": {}},
            },
            "nemu",
            "neurozoo data import nemu {path} DEST --vectors VECTORS.txt\n",
        ),
        (content(text=X, audio=X, vision=X, labels=X), "mult", "--labels LABELS.csd"),
        (content(text=X, audio=X, vision=X, regression_labels=X[:, 0, 0]), "mmsa", "--labels LABELS.csd"),
    ],
)
def test_pickles_are_known_by_what_is_in_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: object, format: str, words: str
) -> None:
    path = tmp_path / "some_file.bin"
    torch.save(made, path)
    status, out, _ = told(capsys, "data", "guess", str(path))
    assert status == 0
    assert out.startswith(f"{format}: ")
    assert "[2, 3, 4]" in out
    assert words.format(path=path) in out


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, file, format in (
        ("a", "x.csd", "csd"),
        ("b", "x_train.npz", "mfn"),
        ("c", "x.arff", "mulan"),
        ("d", "X_train.h5", "mfn"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
        (tmp_path / name / "x.xml").touch()
        status, out, _ = told(capsys, "data", "guess", str(tmp_path / name), "--json")
        assert (status, json.loads(out)["format"]) == (0, format)
        assert file in json.loads(out)["saw"]


def test_a_damaged_archive_hides_no_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a\.zip is no whole zip archive .*; download it again, or give a folder"):
        detect_format(tmp_path)
    (tmp_path / "a.csd").write_bytes(b"")
    assert detect_format(tmp_path).format == "csd"


def test_a_file_of_a_folder_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, format in (("x.csd", "csd"), ("x_train.npz", "mfn"), ("X_train.h5", "mfn")):
        (tmp_path / file).touch()
        _, out, _ = told(capsys, "data", "guess", str(tmp_path / file))
        assert f"neurozoo data import {format} {tmp_path} DEST" in out


def test_an_npz_by_itself_is_known_by_its_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "taxels.npz"
    np.savez(path, x=X, y=np.zeros(2, int), letters=np.array(["A"]))
    status, out, _ = told(capsys, "data", "guess", str(path))
    assert status == 0
    assert out.startswith("braille: ")
    assert "x [2, 3, 4]" in out
    assert f"neurozoo data import braille {path} DEST\n" in out
    np.savez(path, vectors=X)
    status, _, error = told(capsys, "data", "guess", str(path))
    assert (status, "of no known format; it holds vectors [2, 3, 4]" in error) == (2, True)


def test_a_table_of_transcripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "my words.csv"
    table.write_text("video_id,segment_id,start,end,split,happy,text\n")
    status, out, _ = told(capsys, "data", "guess", str(table))
    assert status == 0
    assert f"neurozoo data import mosei-text '{table}' DEST --vectors VECTORS.txt" in out
    table.write_text("a,b\n")
    status, _, error = told(capsys, "data", "guess", str(table))
    assert (status, "its columns are a, b" in error) == (2, True)


def test_a_store_is_one_already(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = told(capsys, "data", "guess", str(store))
    assert status == 0
    assert f"a store already; `neurozoo data info {store}` describes it" in out


def test_what_is_not_known_says_what_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": torch.zeros(2)}, tmp_path / "model.pt")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("model.pt", "of no known format; it holds weights"),
        ("text.txt", "text.txt: of no known format; it is text that begins with 'hello'"),
        ("folder", "of no known format; it holds nothing"),
        ("nothing", "there is no"),
    ):
        status, out, err = told(capsys, "data", "guess", str(tmp_path / name))
        assert (status, out) == (2, "")
        assert words in err
        assert len(err.splitlines()) == 1
