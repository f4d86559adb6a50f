"""Stores whose checksums are right and whose content no writer writes: refused when it is first read, by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.numpy import save

from neurozoo.cli import main
from neurozoo.core.signals import SignalShape
from neurozoo.data.locations import installed, locate
from neurozoo.data.manifest import Manifest
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.synthetic.frames import FramesSynthetic
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.files.json_text import DEEPEST
from neurozoo.tasks.multilabel import Multilabel

SHARD = "train-00000.safetensors"
Change = Callable[[dict[str, Any], dict[str, str]], None]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Six samples of a multi-label task, ragged and masked."""
    shape = SignalShape((1,), 3)
    with StoreWriter(tmp_path / "st", signals={"x": shape}, masked=["x"], outputs=["glad", "sad"], origin={}) as writer:
        writer.add("train", {"x": [np.ones((1 + i % 3, 1)) for i in range(6)]}, np.eye(2)[[0, 1] * 3])
    return tmp_path / "st"


def rewrite(store: Path, change: Change) -> None:
    """Change tensors and metadata of the shard, and write the checksums that belong to it."""
    path = store / SHARD
    with safe_open(path, framework="np") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = dict(file.metadata())
    change(tensors, metadata)
    content = save(tensors, metadata=metadata)
    path.write_bytes(content)
    described = json.loads((store / "dataset.json").read_text())
    described["splits"]["train"]["shards"][0]["sha256"] = hashlib.sha256(content).hexdigest()
    described["checksum"] = ""
    manifest = TypeAdapter(Manifest).validate_json(json.dumps(described))
    (store / "dataset.json").write_text(manifest.to_json())


def set_ids(text: str) -> Change:
    def change(_: dict[str, Any], metadata: dict[str, str]) -> None:
        metadata["ids"] = text

    return change


def set_value(key: str, place: Any, value: float) -> Change:
    def change(tensors: dict[str, Any], _: dict[str, str]) -> None:
        tensors[key] = tensors[key].copy()
        tensors[key][place] = value

    return change


STRANGE = {
    "few ids": (set_ids('["a"]'), r"has 1 ids for 6 samples"),
    "ids that are a number": (set_ids("6"), r"has ids of the type int for 6 samples"),
    "an id that is a number": (set_ids('["a", "b", 3, "d", "e", "f"]'), r"sample 2: its id is 3, and no text"),
    "an id that is half a character": (set_ids(json.dumps(["\ud800", *"bcdef"])), r"ids of the shard .*half of a char"),
    "ids that are no JSON": (set_ids("[a"), r"ids of the shard .*cannot be read as JSON"),
    "ids nested deep": (set_ids("[" * 3000), r"ids of the shard .*nested deeper"),
    "a label of 7": (set_value("labels", (4, 1), 7), r"sample 4 \('4'\), label 'sad' is 7; labels are 0 or 1"),
    "a mask of 2": (set_value("mask/x", 4, 2), r"sample 2 \('2'\): mask/x has the value 2; masks are 0 or 1"),
}


@pytest.mark.parametrize(("change", "said"), STRANGE.values(), ids=STRANGE.keys())
def test_content_that_no_writer_writes(
    store: Path, change: Change, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(store, change)
    with pytest.raises(DataError, match=said) as error:
        _ = Store(store).split("train").target
    assert SHARD in str(error.value)
    for command in ("info", "check"):
        assert main(["data", command, str(store)]) == 2
        err = capsys.readouterr().err
        assert SHARD in err
        assert "Traceback" not in err


def test_a_rewritten_store_that_is_right_is_read(store: Path) -> None:
    """So that the tests above fail by what they change, and not by the rewriting."""
    rewrite(store, set_value("labels", (4, 1), 1))
    assert Store(store).split("train").target[4].tolist() == [1, 1]
    assert main(["data", "info", str(store)]) == 0


@pytest.mark.parametrize(
    ("task", "good", "bad", "said"),
    [
        ("multiclass", 1, 3, r"sample 1 \('1'\) has the value 3; a class is its place among glad, sad: 0 to 1"),
        ("regression", [0.5, 1], np.nan, r"sample 1 \('1'\) has the value nan; a target is a finite number"),
    ],
)
@pytest.mark.parametrize("per_step", [False, True])
def test_targets_of_every_task(tmp_path: Path, task: str, good: Any, bad: float, said: str, per_step: bool) -> None:
    options: dict[str, Any] = {"task": task, "outputs": ["glad", "sad"], "origin": {}}
    if per_step:
        options |= {"along": "x", "target_masked": True}
    with StoreWriter(tmp_path / "st", signals={"x": SignalShape((1,), 2)}, **options) as writer:
        x = [np.ones((2, 1)), np.ones((1, 1)), np.ones((2, 1))]
        target = [np.array([good] * len(each)) for each in x] if per_step else [good] * 3
        mask = {"target_mask": [[1, 1], [1], [0, 1]]} if per_step else {}
        writer.add("train", {"x": x}, target, **mask)
    row = 2 if per_step else 1
    rewrite(tmp_path / "st", set_value("labels", row, bad))
    with pytest.raises(DataError, match=said):
        _ = Store(tmp_path / "st").split("train").target
    if per_step:  # what is masked does not count
        rewrite(tmp_path / "st", set_value("labels", 2, np.ravel(good)[0]))
        rewrite(tmp_path / "st", set_value("labels", 3, bad))
        assert len(Store(tmp_path / "st").split("train").target) == 3


def test_a_view_checks_targets_by_the_rule_of_a_plugins_task(tmp_path: Path) -> None:
    class Ranking(Multilabel):
        name = "ranking"
        takes = "a rank is 0 or 1"

    target = SignalShape((2,), 1, "int16")
    with StoreWriter(
        tmp_path / "st", signals={"x": SignalShape((1,), 1)}, task="ranking", outputs="ab", target=target, origin={}
    ) as writer:
        writer.add("train", {"x": [np.ones((1, 1))] * 2}, [[0, 1], [7, 1]])
    view = DataView(Store(tmp_path / "st"))
    view.check_by(Ranking(("a", "b")))
    with pytest.raises(DataError, match=r"split 'train': the target of sample 1, label 'a' is 7; a rank is 0 or 1"):
        view.split("train")


def deep(levels: int) -> Any:
    return {"a": deep(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"origin": {}', f'"origin": {{"a": {"[" * 3000}{"]" * 3000}}}', "nested deeper"),
        ('"origin": {}', f'"origin": {json.dumps(deep(DEEPEST + 1))}', "nested deeper"),
        ('"origin": {}', '"origin": {"a": 1e400}', "the number 1e400 is too large"),
        ('"origin": {}', '"origin": {"a": NaN}', "NaN is not a number of JSON"),
        ('"origin": {}', '"origin": {}, "origin": {}', "the key 'origin' occurs twice"),
        ('"origin": {}', '"origin": {"a": "\\ud800"}', "malformed"),
        ('"length": 3', '"length": 1000000000', "has the length 1000000000, and its longest sample 3"),
        ('"length": 3', f'"length": {10**30}', "values a sample at most"),
        ('"length": 3', '"length": true', "malformed: .*length"),
        ('"samples": 6', '"samples": 6.0', "malformed"),
        ('"schema": 2', '"schema": true', "has schema True"),
        (SHARD, "x" * 300, "is missing|cannot be read"),
    ],
)
def test_descriptions_of_strangers(
    store: Path, old: str, new: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store / "dataset.json"
    text = path.read_text()
    assert old in text
    text = text.replace(old, new)
    try:
        manifest = TypeAdapter(Manifest).validate_json(text)
        text = text.replace(manifest.checksum, manifest.digest())
    except ValueError:
        pass  # refused before its checksum is compared
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        Store(store)
    assert main(["data", "info", str(store)]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dataset.json", SHARD])
def test_a_pipe_in_a_store_is_not_waited_for(store: Path, name: str) -> None:
    (store / name).unlink()
    os.mkfifo(store / name)
    with pytest.raises(DataError, match="is a pipe; give a regular file"):
        Store(store)


def test_a_byte_order_mark_in_a_description(store: Path) -> None:
    path = store / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Store(store).description.splits == {"train": 6}


@pytest.mark.parametrize(
    ("options", "ids", "said"),
    [
        ({"labels": ["\ud800"]}, None, r"labels of .*half of a character pair"),
        ({"labels": [None]}, None, r"labels of .*\[0\]: found None; a name is text or a number"),
        ({"labels": ["a"]}, ["b", "\udfff"], r"split 'train', ids\[1\]: .*half of a character pair"),
        ({"labels": ["a"]}, ["b", None], r"ids\[1\]: found None"),
        ({"labels": ["a"]}, ["b", ["c"]], r"ids\[1\]: found \['c'\]"),
        ({"labels": ["a"]}, ["b", ""], r"ids\[1\]: found an empty text"),
        ({"labels": ["a"]}, np.array([["b"], ["c"]]), r"ids: has shape \[2, 1\]; names are a list \[N\]"),
        ({"labels": ["a"], "origin": {"source": "\ud800"}}, None, r"the origin of .* cannot be written as JSON"),
        ({"labels": ["a"], "origin": {"source": float("inf")}}, None, r"the origin of .* cannot be written as JSON"),
        ({"labels": ["a"], "origin": {"source": deep(DEEPEST + 1)}}, None, r"the origin of .*nested deeper"),
    ],
)
def test_names_that_are_no_text_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], ids: Any, said: str
) -> None:
    with pytest.raises(DataError, match=said), StoreWriter(tmp_path / "st", **({"origin": {}} | options)) as writer:
        writer.add("train", {"x": np.ones((2, 1, 1))}, [[0], [1]], ids)
    assert list(tmp_path.iterdir()) == []


def test_ids_and_labels_of_other_types_become_text(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "st", labels=[b"gl\xc3\xbcck", np.str_("b"), 3], origin={}) as writer:
        writer.add("train", {"x": np.ones((3, 1, 1))}, np.eye(3), np.array([b"a", b"b", b"c"]))
        writer.add("test", {"x": np.ones((3, 1, 1))}, np.eye(3), np.array([7, 8, 9]))
    store = Store(tmp_path / "st")
    assert store.description.task.outputs == ("glück", "b", "3")
    assert (store.split("train").ids, store.split("test").ids) == (("a", "b", "c"), ("7", "8", "9"))


def test_a_store_is_read_back_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurozoo.data.filling.write_shard", lambda *_: "0" * 64)
    with pytest.raises(DataError, match="is missing"), StoreWriter(tmp_path / "st", labels=["a"], origin={}) as writer:
        writer.add("train", {"x": np.ones((1, 1, 1))}, [[1]])
    assert list(tmp_path.iterdir()) == []


LONG = "x" * 300


@pytest.mark.parametrize("use", [Store, lambda path: StoreWriter(path, labels=["a"], origin={}).__enter__()])
def test_paths_that_the_system_refuses(tmp_path: Path, use: Callable[[Path], object]) -> None:
    for path in (tmp_path / LONG, tmp_path / LONG / "st", tmp_path / "a\0b"):
        with pytest.raises(DataError, match=r"cannot be (read|written) \((File name too long|embedded null)"):
            use(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        DataError, match=r"there is no folder|not a data store|cannot be written \((Not a directory|File exists)"
    ):
        use(tmp_path / "file" / "st")


def test_a_home_of_data_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for home in (LONG, str(tmp_path / LONG), "~nobody-of-this-name/data"):
        monkeypatch.setenv("NEUROZOO_DATA", home)
        assert installed() == {}
        with pytest.raises(DataError, match="no data set 'emotions' is installed"):
            locate("emotions", None)
    assert locate(None, "~nobody-of-this-name") == Path("~nobody-of-this-name")


def test_a_store_in_an_empty_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "st").mkdir()
    (tmp_path / "st" / ".DS_Store").write_text("")
    (tmp_path / "link").symlink_to("st")
    monkeypatch.chdir(tmp_path / "st")
    with StoreWriter(".", labels=["a"], origin={}) as writer:
        writer.add("train", {"x": np.ones((1, 1, 1))}, [[1]])
    assert Store(tmp_path / "link").description.splits == {"train": 1}
    with pytest.raises(DataError, match="is not empty"), StoreWriter(tmp_path / "link", labels=["a"], origin={}):
        pass


def test_what_a_store_is_called(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert DataView(Store(store)).description.name == "st"
    monkeypatch.chdir(store)
    assert Store(".").description.name == "st"
    monkeypatch.setenv("NEUROZOO_DATA", str(tmp_path / "home"))
    assert FramesSynthetic(size=1).store().description.name == "frames-synthetic"


@pytest.mark.parametrize(
    ("task", "target"),
    [("regression", [[True], [False]]), ("multiclass", [True, False]), ("multiclass", np.array([2**63, 0], np.uint64))],
)
def test_targets_that_are_no_numbers(tmp_path: Path, task: str, target: Any) -> None:
    options: dict[str, Any] = {"task": task, "outputs": ["a"], "origin": {}}
    with pytest.raises(DataError, match=r"give numbers|a class is"), StoreWriter(tmp_path / "st", **options) as writer:
        writer.add("train", {"x": np.ones((2, 1, 1))}, target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "shape", [SignalShape((1.5,), 2), SignalShape((True,), 2), SignalShape((3,), "4"), SignalShape((2**30, 2**30), 1)]
)  # fmt: skip
def test_shapes_that_are_no_numbers(tmp_path: Path, shape: SignalShape) -> None:
    with pytest.raises(DataError, match=r"give whole numbers|values a sample at most"):
        StoreWriter(tmp_path / "st", labels=["a"], origin={}, signals={"x": shape})
