"""``neurozoo data fetch`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neurozoo.cli import main
from neurozoo.data.fetch.catalogue import CATALOGUE, PublicData

Server = Any
"""The one of conftest.py."""


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["data", "fetch", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


def test_terms_are_shown_and_to_be_accepted_once(
    server: Server, tiny: PublicData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = ran(capsys, "tiny", "--to", tmp_path / "to")
    assert status == 2
    for words in (tiny.licence, tiny.citation, "2 files to", "MB free", "give --accept-licence"):
        assert words in err
    assert server.gets("features.csd") == []
    assert not (tmp_path / "to").exists()
    status, out, _ = ran(capsys, "tiny", "--to", tmp_path / "to", "--accept-licence")
    assert status == 0
    assert f"next: neurozoo data import csd {tmp_path / 'to'} DEST" in out
    status, _, err = ran(capsys, "tiny", "--to", tmp_path / "to")
    assert status == 0
    assert "nothing is missing" in err


def test_a_person_is_asked(
    server: Server,
    tiny: PublicData,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers))
    status, _, err = ran(capsys, "tiny", "--to", tmp_path / "to")
    assert status == 2
    assert "the terms were not accepted; nothing was fetched" in err
    assert ran(capsys, "tiny", "--to", tmp_path / "to")[0] == 0


def test_for_programs(tiny: PublicData, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tiny", "--to", tmp_path / "to", "--accept-licence", "--json")
    status, out, _ = ran(capsys, *words, "--only", "folds")
    assert status == 0
    assert [(file["path"], file["state"]) for file in json.loads(out)["files"]] == [("folds.py", "fetched")]
    (tmp_path / "to" / "folds.py").write_text("standard_train_fold=[]")
    status, out, _ = ran(capsys, *words, "--only", "folds")
    assert status == 3
    assert json.loads(out)["error"]["exit_status"] == 3


def test_where_there_is_no_network(
    server: Server, tiny: PublicData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del server.files["features.csd"]
    status, _, err = ran(capsys, "tiny", "--to", tmp_path / "to", "--accept-licence")
    assert status == 1
    assert f"{server.url}/features.csd\n    -> {tmp_path / 'to' / 'deep' / 'features.csd'}" in err


def test_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = ran(capsys)
    assert status == 0
    assert "immortal.multicomp.cs.cmu.edu/CMU-MOSEI/labels/CMU_MOSEI_Labels.csd" in out
    listed = json.loads(ran(capsys, "--json")[1])["public"]
    assert [data["name"] for data in listed] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cmu-mosie"], "no public data set is called 'cmu-mosie'; there are: cifar10-dvs, cmu-mosei"),
        (["cmu-mosei", "--only", "covarp"], "has no file 'covarp'.*did you mean 'covarep'"),
    ],
)
def test_names_that_are_unknown(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, *words)
    assert status == 2
    assert "did you mean" in err
    assert said.split(".*")[0] in err


def test_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, "cmu-mosei", "--only", " ,")
    assert (status, err.startswith("error: --only ' ,' names no file; cmu-mosei has: ")) == (2, True)


@pytest.mark.parametrize("data", CATALOGUE.values(), ids=list(CATALOGUE))
def test_the_catalogue(data: PublicData) -> None:
    assert len({file.name for file in data.files}) == len({file.path for file in data.files}) == len(data.files)
    for file in data.files:
        assert file.url.startswith(("http://", "https://"))
        assert not Path(file.path).is_absolute()
        assert ".." not in Path(file.path).parts
        assert "/" not in file.name
    assert data.licence
    assert data.citation
