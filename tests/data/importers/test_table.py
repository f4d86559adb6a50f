"""A user's own tables: CSV, Parquet and npz; what is guessed, what is asked for, and errors by row and column."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.core.shapes import SignalShape
from neurozoo.data.importers import table_rows
from neurozoo.data.importers.run_importer import detect_format, import_data
from neurozoo.data.store import Store
from neurozoo.errors import DataError, UserError

Import = Callable[..., Store]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    """Writes a CSV and imports it."""

    def make(text: str, **options: Any) -> Store:
        (tmp_path / "t.csv").write_text(text)
        return import_data("table", tmp_path / "t.csv", tmp_path / "store", **options)

    return make


def rows(store: Store, signal: str = "features") -> dict[str, tuple[str, list[Any], Any]]:
    """By id: split, values of the valid positions, target."""
    found = {}
    for split, n in store.description.splits.items():
        view = store.split(split)
        batch = view.batch(torch.arange(n)).signals[signal]
        for id, x, mask, y in zip(view.ids, batch.values, batch.mask, view.target, strict=True):
            found[id] = (split, x[mask].tolist(), y.tolist())
    return found


SMALL = """id,age,label,height,split
a,1,cat,0.5,train
b,2,dog,-1,validation
c,3,cat,1e3,test
d,4,cat,0,Train
"""


def test_a_row_a_sample_with_everything_guessed(imported: Import) -> None:
    store = imported(SMALL)
    assert store.description.signals == {"features": SignalShape((2,), 1, "float32", False)}
    assert (store.description.task.name, store.description.task.outputs) == ("multiclass", ("cat", "dog"))
    assert rows(store) == {
        "a": ("train", [[1.0, 0.5]], 0),
        "b": ("valid", [[2.0, -1.0]], 1),
        "c": ("test", [[3.0, 1000.0]], 0),
        "d": ("train", [[4.0, 0.0]], 0),
    }


def test_columns_by_option_and_labels(tmp_path: Path) -> None:
    lines = ["who;x1;x2;y1;glad;sad"]
    lines += [f"p{i % 4};{i};{i + 0.5};{-i};{i % 2};{int(i > 5)}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    command = ["data", "import", "table", str(tmp_path / "t.csv"), str(tmp_path / "store"), "--target", "glad,sad"]
    command += ["--inputs", "xs=x?,other=y1", "--split-by", "who", "--valid", "p1", "--test", "p2"]
    assert main(command) == 0
    store = Store(tmp_path / "store")
    assert (store.description.task.name, store.description.task.outputs) == ("multilabel", ("glad", "sad"))
    assert {name: shape.shape for name, shape in store.description.signals.items()} == {"xs": (2,), "other": (1,)}
    found = rows(store, "xs")
    assert found["6"] == ("test", [[6.0, 6.5]], [0, 1])
    assert {found[str(i)][0] for i in range(12) if i % 4 in (0, 3)} == {"train"}
    assert rows(store, "other")["7"] == ("train", [[-7.0]], [1, 1])


def test_many_whole_numbers_have_to_be_called_regression(imported: Import, tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{i},{i}\n" for i in range(60))
    with pytest.raises(DataError, match=r"y has values such as 0, 1, 2, 3; say what they are by --task regression"):
        imported(text)
    assert imported(text, task="regression").description.task.name == "regression"
    shutil.rmtree(tmp_path / "store")
    store = imported("x,y\n" + "".join(f"{i},{i / 4}\n" for i in range(8)), seed=1)
    assert store.description.splits == {"train": 6, "valid": 1, "test": 1}
    assert all(target == [x[0][0] / 4] for _, x, target in rows(store).values())


def test_rows_of_a_sequence_are_positions(imported: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "word,t,a,label\n" + "".join(
        f"w{i},{t},{10 * i + t},{'xy'[i % 2]}\n" for i in range(9) for t in range(1 + i)
    )
    whole = imported(text, sequence="word", rate=50.0, inputs=["a"])
    assert whole.description.signals == {"features": SignalShape((1,), 9, "float32", True, 0.02)}
    found = rows(whole)
    assert found["w4"][1:] == ([[40.0 + t] for t in range(5)], 0)
    assert len(found) == 9
    monkeypatch.setattr(table_rows, "_MOST", 4)
    monkeypatch.setattr(table_rows, "_FEWEST", 1)
    (whole.path / "dataset.json").unlink()
    for path in whole.path.iterdir():
        path.unlink()
    pieces = imported(text, sequence="word", rate=50.0, inputs=["a"])
    assert rows(pieces) == found, "how many rows are read at once does not matter"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", {}, r"t\.csv is empty"),
        ("x,label\n", {}, r"t\.csv has no row below the names of its columns"),
        ("x,label\n1,a\n2\n", {}, r"t\.csv:3: 1 cells, and the first line has 2"),
        ("x,label\n1,a\n2,b\nthree,a\n", {}, r"t\.csv:4: x is 'three', and inputs are numbers"),
        ("x,label,split\n" + "1,a,train\n" * 5000 + "q,b,test\n", {}, r"t\.csv:5002: x is 'q'; give a finite number"),
        (
            "x,label,split\n1,a,train\n,b,test\n",
            {"inputs": ["x"]},
            r"t\.csv:3: x is empty; .*--missing zero makes it 0",
        ),
        ("x,label\n1_0,a\n", {}, r"t\.csv:2: x is '1_0', and inputs are numbers; name the inputs by --inputs"),
        ("x,name,label\n1,n,a\n", {}, r"t\.csv:2: name is 'n', and inputs are numbers"),
        ("x,z\n1,2\n", {}, r"which column is the target\? there are: x, z; give --target COLUMN"),
        ("x,label,y\n1,2,3\n", {}, r"which column is the target\? there are: x, label, y"),
        ("x,z\n1,2\n", {"target": ["zz"]}, r"no column 'zz' of --target; there are: x, z; did you mean 'z'\?"),
        ("x,z\n1,2\n", {"target": ["z"], "inputs": ["k*"]}, r"no column 'k\*' of --inputs"),
        ("label\n1\n", {}, r"no column left for an input"),
        (
            "x,a,b,split\n1,2,3,test\n",
            {"target": ["a", "b"], "task": "multilabel"},
            ":2: a is 2; labels are 0 or 1",
        ),
        ("x,a,b\n1,2,3\n", {"target": ["a", "b"], "task": "multiclass"}, "multiclass has one column of classes"),
        (
            "x,label,split\n1,a,train\n2,b,later\n",
            {},
            r"t\.csv:3: the column split is 'later'; give train, valid",
        ),
        ("x,label,id,split\n1,a,k,train\n2,b,k,test\n", {}, r"t\.csv:3: id 'k' is there twice; ids name one sample"),
        ("x,label\n1,a\n1,a\n1,a\n1,b\n", {}, r"the class 'b' has 1 samples, and each of train, valid, test needs one"),
        ("x,label,p\n1,a,1\n2,b,2\n", {"split_by": "p"}, "each split needs a group, and p has 2: 1, 2"),
        ("x,y\n1,a\n", {"inputs": ["x", "y"]}, "y is the target, and --inputs names it as well"),
        ("x,label\n1,a\n", {"test": ["1"]}, "name it by --split-by NAME"),
        ("x,label,s\n1,a,u\n1,b,v\n1,a,u\n", {"sequence": "s"}, r"t\.csv:4: s 'u' comes back; put its rows together"),
        (
            "x,label,s,split\n1,a,u,test\n1,b,u,test\n1,b,v,test\n",
            {"sequence": "s"},
            r"t\.csv:3: the target changes within a sample",
        ),
        ('x,label\n1,"a\n', {}, r"t\.csv:2 cannot be read as CSV"),
        ("x,label\n1,a\n" + "1" * 2**21, {}, r"t\.csv:3 has more than 1,048,576 bytes; is it CSV"),
        ("x" * 2**21, {}, r"t\.csv:1 has more than 1,048,576 bytes"),
    ],
)
def test_errors_name_row_and_column(imported: Import, text: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        imported(text, **options)
    assert "\n" not in str(error.value)


def test_empty_cells_become_zero_when_asked_for(imported: Import) -> None:
    text = "x,z,label,split\n1,2,a,train\n,NA,b,train\n3,,a,test\n"
    assert rows(imported(text, missing="zero", inputs=["x", "z"])) == {
        "0": ("train", [[1.0, 2.0]], 0),
        "1": ("train", [[0.0, 0.0]], 1),
        "2": ("test", [[3.0, 0.0]], 0),
    }


def test_a_failed_import_leaves_nothing(imported: Import, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        imported("x,label,split\n" + "1,a,train\n" * 5000 + "q,b,test\n")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_parquet_gives_what_csv_gives(imported: Import, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra parquet")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {
        "id": ["a", "b", "c", "d"],
        "age": [1, 2, 3, 4],
        "label": ["cat", "dog", "cat", "cat"],
        "height": [0.5, -1.0, 1e3, 0.0],
        "split": ["train", "validation", "test", "Train"],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet", row_group_size=2)
    store = import_data("table", tmp_path / "t.parquet", tmp_path / "other")
    assert rows(store) == rows(imported(SMALL))
    assert detect_format(tmp_path / "t.parquet").format == "arrays"

    parquet.write_table(pyarrow.table(columns | {"age": [1, None, 3, 4]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet, row 2: age is empty; give a finite number; --missing zero"):
        import_data("table", tmp_path / "t.parquet", tmp_path / "third")
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + b"\0" * 50)
    with pytest.raises(DataError, match=r"t\.parquet cannot be read as Parquet"):
        import_data("table", tmp_path / "t.parquet", tmp_path / "third")


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"pip install 'neurozoo-toolkit\[parquet\]', or save it as CSV or npz"):
        import_data("table", tmp_path / "t.parquet", tmp_path / "store")


def saved(tmp_path: Path, **arrays: Any) -> Path:
    np.savez(tmp_path / "t.npz", **arrays)
    return tmp_path / "t.npz"


def test_arrays_with_lengths_ids_and_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 6, 2)).astype(np.float32)
    length, who = rng.integers(1, 7, 9), np.repeat([3, 1, 2], 3)
    file = saved(tmp_path, x=x, x_length=length, y=np.array(list("abc" * 3)), ids=np.arange(100, 109), who=who)
    given = {"split_by": "who", "valid": ["1"], "test": ["2"], "rate": 10.0}
    store = import_data("table", file, tmp_path / "store", **given)
    assert store.description.signals == {"features": SignalShape((2,), int(length.max()), "float32", True, 0.1)}
    assert (store.description.task.name, store.description.task.outputs) == ("multiclass", ("a", "b", "c"))
    found = rows(store)
    for row in range(9):
        split, values, target = found[str(100 + row)]
        assert split == {3: "train", 1: "valid", 2: "test"}[int(who[row])]
        np.testing.assert_array_equal(np.array(values, np.float32), x[row, : length[row]])
        assert target == row % 3
    assert detect_format(file).format == "arrays"


@pytest.mark.parametrize("ragged", [False, True])
def test_a_target_at_every_step(tmp_path: Path, ragged: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (8, 5, 3)).astype(bool), rng.integers(10, 13, (8, 5))
    more = {"x_length": np.array([5, 1, 2, 3, 4, 5, 5, 5])} if ragged else {}
    store = import_data("table", saved(tmp_path, x=x, y=y, **more), tmp_path / "store")
    assert (store.description.task.per_step, store.description.task.outputs) == (True, ("10", "11", "12"))
    assert store.description.signals["features"].dtype == "bool"
    view = store.split("train")
    for place, id in enumerate(view.ids):
        n = more["x_length"][int(id)] if ragged else 5
        assert view.target[place, :n].tolist() == (y[int(id), :n] - 10).tolist()


@pytest.mark.parametrize(
    ("y", "task", "found"),
    [
        (np.eye(4, 3, dtype=int), None, ("multilabel", False, 3)),
        (np.linspace(0, 1, 8).reshape(4, 2), "regression", ("regression", False, 2)),
        (np.arange(4) / 2, "regression", ("regression", False, 1)),
        (np.ones((4, 5, 2), bool), None, ("multilabel", True, 2)),
        (np.ones((4, 5, 2)) / 2, "regression", ("regression", True, 2)),
    ],
)
def test_targets_of_every_task(tmp_path: Path, y: Any, task: str | None, found: tuple[str, bool, int]) -> None:
    file = saved(tmp_path, x=np.ones((4, 5, 1)), y=y, split=np.array(["train", "train", "valid", "test"]))
    entry = import_data("table", file, tmp_path / "store", **({"task": task} if task else {})).description.task
    assert (entry.name, entry.per_step, len(entry.outputs)) == found


THREE = np.zeros(3, int)


@pytest.mark.parametrize(
    ("arrays", "options", "said"),
    [
        ({"x": np.ones((3, 2))}, {}, r"which array is the target\? there are: x \[3, 2\]; give --target NAME"),
        ({"x": np.ones((3, 2)), "y": np.ones(4, int)}, {"inputs": ["x"]}, r"x is of shape \[3, 2\] and the target y"),
        ({"x": np.ones(3), "y": np.ones(3, int)}, {}, r"which arrays are inputs\?"),
        ({"x": np.ones((99, 2)), "y": np.arange(99)}, {}, r"y is int64 of shape \[99\], with 99 .* are by --task"),
        ({"x": np.ones((3, 4, 2)), "y": np.ones((3, 4)) / 3}, {}, r"if each sample has 4 numbers, .* \[3, 4, 1\] if"),
        ({"x": np.ones((3, 2)), "y": np.ones(3, int)}, {"inputs": ["q"]}, r"has no array 'q' of --inputs"),
        ({"x": np.ones((3, 2)), "y": np.ones(3, int), "labels": np.ones(3)}, {}, "y, labels may each be --target"),
        (
            {"x": np.ones((3, 2)), "x_length": np.ones(3, int) * 9, "y": np.arange(3)},
            {},
            r"x_length is int64 .* 1 to 2",
        ),
        ({"x": np.ones((3, 2)), "y": np.arange(3)}, {"sequence": "y"}, "--sequence is for rows of CSV and Parquet"),
        (
            {"x": np.ones((3, 2), complex), "y": np.arange(3)},
            {"inputs": ["x"]},
            r"x is complex128 .* inputs are numbers",
        ),
        ({"x": np.ones((3, 2)), "y": np.ones((3, 2, 2, 2))}, {}, r"targets are \[N\], \[N, K\], or along an input"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        import_data("table", saved(tmp_path, **arrays), tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()


def test_guess_names_a_table_where_a_column_may_be_the_target(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(SMALL)
    found = detect_format(tmp_path / "t.csv")
    assert (found.format, found.saw) == ("arrays", ("id, age, label, height, split",))
    (tmp_path / "t.csv").write_text(SMALL, encoding="utf-16")
    assert detect_format(tmp_path / "t.csv").format == "arrays"
    assert import_data("table", tmp_path / "t.csv", tmp_path / "wide").description.splits["train"] == 2
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert detect_format(tmp_path / "t.csv").options == ("--target", "b")
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="of no known format; its columns are a"):
        detect_format(tmp_path / "t.csv")
