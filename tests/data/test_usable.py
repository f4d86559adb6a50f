"""An import that comes to nothing is an error; what concerns a share is recorded in the store and shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.core.shapes import SignalShape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.usable import importing
from neurozoo.errors import DataError

N, L, D = 4, 3, 2
Made = Callable[..., Store]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Writes a store of two splits of 4 samples as an importer does, with some arguments of ``add`` replaced."""

    def make(**changes: Any) -> Store:
        arguments = {"labels": ["glad", "sad"], "origin": {}} | changes.pop("arguments", {})
        with importing(), StoreWriter(tmp_path / "store", **arguments) as writer:
            for split in ("train", "test"):
                given = {
                    "signals": {"text": np.ones((N, L, D)), "audio": np.ones((N, L, D))},
                    "target": np.eye(2)[[0, 1] * 2],
                }
                writer.add(split, **(given | changes.get("both", {}) | changes.get(split, {})))
        return Store(tmp_path / "store")

    return make


def audio(x: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"signals": {"text": np.ones((len(x), L, D)), "audio": x}, **more}


SILENT = np.zeros((N, L, D))
NOTHING = [
    ({"both": audio(SILENT)}, "no sample has a valid position of 'audio'"),
    ({"both": audio(SILENT, masks={"audio": np.ones((N, L))})}, "every value of 'audio' is 0"),
    ({"both": {"target": np.zeros((N, 2))}}, "no sample has any of the labels glad, sad"),
    ({"test": audio(SILENT[:0], target=np.zeros((0, 2)))}, "split 'test' has no sample"),
    (
        {"arguments": {"labels": None, "task": "multiclass", "outputs": ["a", "b"]}, "both": {"target": [1] * N}},
        "every sample is of the class 'b'; there are no others",
    ),
]


@pytest.mark.parametrize(("changes", "words"), NOTHING)
def test_what_comes_to_nothing_is_refused(made: Made, tmp_path: Path, changes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        made(**changes)
    assert not list(tmp_path.iterdir())


SHARES = [
    ({}, []),
    (
        {"train": audio(np.concatenate([SILENT[:1], np.ones((3, L, D))]))},
        ["train: 1 of 4 samples (25.0%) have no valid position of 'audio'"],
    ),
    ({"test": audio(SILENT, masks={"audio": np.ones((N, L))})}, ["test: every value of 'audio' is 0"]),
    ({"train": {"target": [[1, 0]] * N}}, ["train: no sample has sad (1 of 2 labels)"]),
    ({"both": {"target": [[1, 0]] * N}}, ["the store: no sample has sad (1 of 2 labels)"]),
]


@pytest.mark.parametrize(("changes", "warnings"), SHARES)
def test_what_concerns_a_share_is_recorded(made: Made, changes: Any, warnings: list[str]) -> None:
    assert made(**changes).description.origin.get("warnings", []) == warnings


def test_warnings_are_not_part_of_the_checksum(made: Made, tmp_path: Path) -> None:
    """A run on data that was imported before they were looked for finds the same data."""
    with StoreWriter(tmp_path / "before", labels=["glad", "sad"], origin={}) as writer:
        for split in ("train", "test"):
            writer.add(split, **audio(np.ones((N, L, D)), target=[[1, 0]] * N))
    now = made(both={"target": [[1, 0]] * N}).description
    assert now.origin["warnings"]
    assert now.checksum == Store(tmp_path / "before").description.checksum


def test_ragged_signals_and_targets_per_step(tmp_path: Path) -> None:
    shape = SignalShape((2,), 5, "bool")
    of = {"signals": {"s": shape}, "task": "multiclass", "outputs": ["a", "b", "c"], "along": "s", "origin": {}}
    with importing(), StoreWriter(tmp_path / "store", **of) as writer:
        writer.add("train", {"s": [np.ones((2, 2)), np.ones((0, 2))]}, [np.array([0, 1]), np.array([], int)])
    assert Store(tmp_path / "store").description.origin["warnings"] == [
        "train: 1 of 2 samples (50.0%) have no valid position of 's'",
        "the store: no sample has c (1 of 3 classes)",
    ]


def test_a_store_of_ones_own_may_be_as_it_likes(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", labels=["glad"], origin={}) as writer:
        writer.add("train", {"text": np.zeros((1, L, D))}, np.zeros((1, 1)))
    assert "warnings" not in Store(tmp_path / "store").description.origin


def test_it_is_told_by_the_command_and_by_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "pom"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        x = np.ones((N, L, D))
        x[1] = 0
        np.savez(folder / f"pom_{split}.npz", audio=x, y=np.arange(N)[:, None])
    assert main(["data", "import", "mfn", str(folder), str(tmp_path / "store"), "--json"]) == 0
    out = capsys.readouterr().out
    said = "train: 1 of 4 samples (25.0%) have no valid position of 'audio'"
    assert json.loads(out)["origin"]["warnings"][0] == said
    assert main(["data", "import", "mfn", str(folder), str(tmp_path / "again")]) == 0
    assert f"warning: {said}" in capsys.readouterr().out
    assert main(["data", "info", str(tmp_path / "store")]) == 0
    assert f"warning: {said}" in capsys.readouterr().out
    for split in ("train", "valid", "test"):
        np.savez(folder / f"pom_{split}.npz", audio=np.zeros((N, L, D)), y=np.arange(N)[:, None])
    assert main(["data", "import", "mfn", str(folder), str(tmp_path / "nothing")]) == 2
    assert "no sample has a valid position of 'audio'" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
