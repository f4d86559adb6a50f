"""Checkpoints are whole or not there, and refuse another model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from neurozoo.errors import CheckpointError, RunError
from neurozoo.files import writing as files
from neurozoo.runs.checkpoint import load_checkpoint, read_tensors, renamed, write_tensors


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "best.safetensors"
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    write_tensors(path, source.state_dict(), {"epoch": 4, "labels": ["a", "b"]})
    assert load_checkpoint(path, target) == {"schema": 2, "epoch": 4, "labels": ["a", "b"]}
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    assert [p.name for p in path.parent.iterdir()] == ["best.safetensors"]


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    metadata = {name: name for name in "edcba"}
    for name in ("a", "b"):
        write_tensors(tmp_path / name, {"x": torch.arange(3.0), "y": torch.ones(2)}, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_shared_storage_is_saved(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    write_tensors(tmp_path / "x.safetensors", {"a": x, "b": x[2:4]}, {})
    tensors, _ = read_tensors(tmp_path / "x.safetensors")
    assert torch.equal(tensors["b"], x[2:4])


class Renamed(nn.Module):
    """Its layers had other names before."""

    renamed = ((r"^layers\.(\d+)\.linear\.", r"layers.\1.synapse."), (r"^readout\.", "head."))

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"synapse": nn.Linear(3, 3)}) for _ in range(2)])
        self.head = nn.Linear(3, 2)


def test_tensors_of_earlier_names_find_their_place(tmp_path: Path) -> None:
    source, target = Renamed(), Renamed()
    old = {
        name.replace("synapse", "linear").replace("head", "readout"): weight
        for name, weight in source.state_dict().items()
    }
    assert "layers.0.linear.weight" in old
    write_tensors(tmp_path / "old.safetensors", old, {})
    load_checkpoint(tmp_path / "old.safetensors", target)
    for name, weight in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], weight)
    # Both kinds of name may stand in one file, as those of today are left alone.
    assert renamed(source.state_dict(), target).keys() == target.state_dict().keys()
    assert renamed({"other.weight": torch.ones(1)}, target).keys() == {"other.weight"}


def test_another_model_is_refused_and_nothing_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}, {})
    layer = nn.Linear(3, 2)
    before = layer.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, layer)
    text = str(caught.value)
    assert "a checkpoint of another model" in text
    assert "1 missing, such as bias" in text
    assert "1 unknown, such as scale" in text
    assert "weight is [2, 4] there and [2, 3] here" in text
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("keep", [0, 4, 40, -8])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"weight": torch.zeros(20)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_tensors(path)


@pytest.mark.parametrize("place", [-1, -7, -30])
def test_a_flipped_bit_of_a_tensor_is_refused(place: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.randn(7), "b": torch.tensor(True), "c": torch.randn(3).bfloat16()}, {})
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged, its tensors differ from those that were written"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        read_tensors(tmp_path / "no.safetensors")


@pytest.mark.parametrize("header", [None, {"schema": "7"}, {"neurozoo": "[]"}])
def test_another_schema_is_refused(tmp_path: Path, header: dict[str, str] | None) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", header)
    with pytest.raises(CheckpointError, match=r"its schema is (None|'7') and this version reads 2"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.zeros(1)}, {})
    old = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*old file is unchanged"):
        write_tensors(path, {"a": torch.ones(1)}, {})
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_others_may_read_it_as_any_new_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {})
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode
