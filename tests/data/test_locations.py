"""Where data sets are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.data.locations import data_home, installed, locate
from neurozoo.data.store import Store
from neurozoo.errors import DataError

MakeStore = Callable[..., Store]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_store: MakeStore) -> Path:
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path))
    make_store({"audio": (1, 1)}, {"train": 1}, name="emotions")
    (tmp_path / "holidays").mkdir()
    return tmp_path


def test_a_name_is_looked_up_under_the_data_folder(home: Path) -> None:
    assert data_home() == home
    assert installed() == {"emotions": home / "emotions"}
    assert locate("emotions", None) == home / "emotions"


def test_a_root_is_the_store_itself(home: Path) -> None:
    assert locate("emotions", "elsewhere/store") == Path("elsewhere/store")


def test_a_name_that_is_not_installed(home: Path) -> None:
    with pytest.raises(DataError) as caught:
        locate("emotion", None)
    said = str(caught.value)
    assert f"no data set 'emotion' is installed in {home}" in said
    assert "there are: emotions; did you mean 'emotions'?" in said
    assert f"`neurozoo data import FORMAT SOURCE {home / 'emotion'}`" in said
    assert "data.root=FOLDER" in said


def test_neither_name_nor_root(home: Path) -> None:
    with pytest.raises(DataError, match=r"no data set is named; set data\.root=FOLDER.*: emotions"):
        locate(None, None)


def test_the_default_is_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEUROZOO_DATA", raising=False)
    assert data_home().parts[-2:] == ("neurozoo", "data")
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "not yet there"))
    assert installed() == {}
    with pytest.raises(DataError, match=r"there are: none"):
        locate("emotions", None)
