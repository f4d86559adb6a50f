"""A store that was written before schema 2 is read as it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from neurozoo.cli import main
from neurozoo.core.signals import SignalShape
from neurozoo.data.store import Store, StoreWriter
from neurozoo.data.view import DataView
from neurozoo.errors import DataError

HERE = Path(__file__).parent / "schema1"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the code before gave of it."""
    content: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
    return content


@pytest.mark.parametrize("through", ["store", "view"])
def test_batches_are_the_same(expected: dict[str, Any], through: str) -> None:
    store = Store(HERE / "store")
    store.verify()
    assert store.description.checksum == expected["checksum"]
    for name, old in expected["splits"].items():
        split = store.split(name) if through == "store" else DataView(store).split(name)
        batch = split.batch(torch.arange(len(split)))
        assert list(batch.signals) == list(old["features"])
        for signal, values in old["features"].items():
            assert batch.signals[signal].values.dtype == torch.float32
            assert torch.equal(batch.signals[signal].values, torch.tensor(values))
            valid = batch.signals[signal].valid
            assert valid is not None
            assert valid.int().tolist() == old["masks"][signal]
        assert batch.target is not None
        assert (batch.target.dtype, batch.target.tolist()) == (torch.float32, old["labels"])
        assert torch.equal(split.target, batch.target)
        assert batch.target_valid is None
        assert list(split.ids) == old["ids"]


def test_its_description_is_in_the_words_of_schema_2() -> None:
    known = Store(HERE / "store").description
    assert known.signals == {"text": SignalShape((3,), 5), "audio": SignalShape((2,), 4)}
    assert (known.task.name, known.task.outputs, known.task.per_step) == ("multilabel", ("glad", "sad", "calm"), False)


def test_data_info_says_the_same(expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "info", str(HERE / "store"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    for key, value in expected["info"].items():
        if key == "summary":
            assert value["labels"] == found[key]["labels"]
            for signal, splits in value["lengths"].items():
                for split, lengths in splits.items():
                    assert {"step": 1, **lengths} == found[key]["lengths"][signal][split]
        else:
            assert found[key] == value, key
    assert main(["data", "info", str(HERE / "store")]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, last = lines.index("Signals"), lines.index("Valid positions")
    old = expected["text"]
    notice = "SYNTHETIC data: these numbers say nothing about real data and cannot be compared with published results"
    assert lines[1] == f"  {notice}"
    assert lines[2:first] == old[2 : old.index("Modalities")]
    words = [line.replace("modality", "signal").split() for line in old[old.index("Valid positions") :]]
    assert [line.split() for line in lines[last:]] == words
    modalities = old[old.index("Modalities") + 2 : old.index("Valid positions") - 1]
    signals = lines[first + 2 : last - 1]
    assert [line.split() for line in signals] == [[*line.split(), "float32", "padded"] for line in modalities]


def test_a_changed_value_and_a_changed_description_are_noticed(tmp_path: Path) -> None:
    shutil.copytree(HERE / "store", tmp_path / "store")
    shard = tmp_path / "store" / "train-00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"changed since written: train-00001\.safetensors"):
        Store(tmp_path / "store").verify()
    path = tmp_path / "store" / "dataset.json"
    path.write_text(path.read_text().replace("glad", "mad"))
    with pytest.raises(DataError, match="changed after it was written"):
        Store(tmp_path / "store")


def test_the_same_data_written_today_has_the_same_checksum(tmp_path: Path) -> None:
    """So runs made on a data set that is made on first use, or imported again, find it unchanged."""
    old = Store(HERE / "store")
    known = old.description
    options = {"labels": known.task.outputs, "origin": known.origin, "modalities": known.signals, "synthetic": True}
    with StoreWriter(tmp_path / "new", shard_samples=4, **options) as writer:
        for name in known.splits:
            split = old.split(name)
            batch = split.batch(torch.arange(len(split)))
            values = {signal: each.values.numpy() for signal, each in batch.signals.items()}
            masks = {signal: each.mask.numpy() for signal, each in batch.signals.items()}
            assert batch.target is not None
            writer.add(name, values, batch.target.numpy(), split.ids, masks)
        writer.count_non_finite("text", old.non_finite["text"])
    new = Store(tmp_path / "new")
    assert json.loads((new.path / "dataset.json").read_text())["schema"] == 2
    assert new.description == known
