"""Public event data sets: files of their layouts come from a loopback server, are checked, and can be imported."""

from __future__ import annotations

import gzip
import io
import shlex
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neurozoo.cli import main
from neurozoo.data.fetch import catalogue
from neurozoo.data.fetch.layouts import LAYOUTS
from neurozoo.data.store import Store
from neurozoo.errors import DataError

Server = Any
"""The one of conftest.py."""


def npy() -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([(3.0, 4.0, 1.0, 0.5), (5.0, 6.0, 0.0, 0.9)]))
    return made.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def words(folder: Path) -> bytes:
    path = folder / "made.h5"
    with h5py.File(path, "w") as file:
        for name, dtype, row in (("times", np.float16, [0.001, 0.5]), ("units", np.uint16, [3, 699])):
            made = file.create_dataset(f"spikes/{name}", (20,), dtype=h5py.vlen_dtype(dtype))
            for k in range(20):
                made[k] = np.array(row, dtype)
        file["labels"] = np.arange(20) % 2
        file["extra/keys"] = np.array([b"zero", b"one"])
        file["extra/speaker"] = np.arange(20) % 4
    raw = path.read_bytes()
    path.unlink()
    return gzip.compress(raw)


def files_of(name: str, path: str, folder: Path) -> bytes:
    """SYNTHETIC: a file of the layout that a data set's file has."""
    if name in ("shd", "ssc"):
        return words(folder)
    event = bytes([3, 4, 128, 0, 9])
    if name == "n-mnist":
        split = path.removesuffix(".zip")
        return zipped({f"{split}/{digit}/{n:05}.bin": event * 3 for digit in range(2) for n in range(2)})
    if name == "cifar10-dvs":
        label = path.removesuffix(".zip")
        return zipped({f"{label}/cifar10_{label}_{n}.aedat": b"#!AER-DAT2.0\r\n" + bytes(8) for n in range(3)})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        top = path.removesuffix(".tar.gz")
        for label in (0, 10):
            member = tarfile.TarInfo(f"{top}/user{1 if 'Train' in top else 25:02}_led/{label}.npy")
            member.size = len(npy())
            archive.addfile(member, io.BytesIO(npy()))
    return made.getvalue()


@pytest.fixture
def served(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], catalogue.PublicData]:
    """Serve a data set of the catalogue at the loopback server, under the same paths."""

    def serve(name: str) -> catalogue.PublicData:
        data = catalogue.CATALOGUE[name]
        files = tuple(replace(file, url=f"{server.url}/{file.path}", hosts=()) for file in data.files)
        made = replace(data, files=files)
        server.files.update({file.path: files_of(name, file.path, tmp_path) for file in files})
        monkeypatch.setitem(catalogue.CATALOGUE, name, made)
        return made

    return serve


@pytest.mark.parametrize("name", ["shd", "ssc", "n-mnist", "cifar10-dvs", "dvs128-gesture"])
def test_what_is_fetched_can_be_imported_by_the_command_it_ends_with(
    name: str, served: Callable[[str], catalogue.PublicData], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder, dest = served(name), tmp_path / "to", tmp_path / "store"
    assert main(["data", "fetch", name, "--to", str(folder)]) == 2
    refused = capsys.readouterr().err
    for text in (data.licence, "give --accept-licence"):
        assert text in refused
    assert main(["data", "fetch", name, "--to", str(folder), "--accept-licence"]) == 0
    following = capsys.readouterr().out.splitlines()[-1].partition("next: ")[2]
    command = shlex.split(following.rpartition("&& ")[2].replace("DEST", str(dest)))
    if "tar -xzf" in following:
        for path in folder.glob("*.tar.gz"):
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    assert command[:3] == ["neurozoo", "data", "import"]
    extra = ["--valid", "0"] if name in ("shd", "dvs128-gesture") else []
    assert main([*command[1:], *extra]) == 0, capsys.readouterr().err
    description = Store(dest).description
    assert sum(description.splits.values()) >= 4
    assert set(description.splits) == {"ssc": {"train", "valid", "test"}}.get(name, {"train", "test"})


@pytest.mark.parametrize(
    ("name", "path", "content", "said"),
    [
        ("shd", "shd_train.h5.gz", b"<html>", "cannot be unpacked"),
        ("shd", "shd_train.h5.gz", gzip.compress(b"no HDF5", mtime=0), "is not read"),
        ("n-mnist", "Train.zip", b"PK", "no whole zip archive"),
        ("n-mnist", "Train.zip", zipped({"Train/0/1.bin": bytes(7)}), "Train/0/1.bin is no whole number of events"),
        ("n-mnist", "Train.zip", zipped({"readme": b""}), "holds no Train/D/NNNNN.bin"),
        ("cifar10-dvs", "cat.zip", zipped({"cat/cifar10_cat_0.aedat": b"x"}), "does not begin with #!AER-DAT2.0"),
        ("dvs128-gesture", "ibmGestureTest.tar.gz", b"", "no whole tar.gz archive"),
    ],
)
def test_a_file_of_another_layout_is_not_kept(
    name: str,
    path: str,
    content: bytes,
    said: str,
    server: Server,
    served: Callable[[str], catalogue.PublicData],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = served(name)
    server.files[path] = content
    only = next(file.name for file in data.files if file.path == path)
    assert main(["data", "fetch", name, "--to", str(tmp_path / "to"), "--accept-licence", "--only", only]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "nothing of it is kept" in error
    assert not (tmp_path / "to" / path).exists()


def test_archives_with_other_members(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    for member, content, said in (
        ("ibmGestureTrain/user01_led/11.npy", npy(), "is no npy file of a class 0 to 10"),
        ("ibmGestureTrain/user01_led/1.npy", b"text", "is no npy file of a class 0 to 10"),
        ("other/1.npy", npy(), "holds no ibmGestureTrain"),
    ):
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        with pytest.raises(DataError, match=said):
            LAYOUTS["dvs128-gesture"](path)


def test_every_layout_is_known_and_no_checksum_is_claimed() -> None:
    for data in catalogue.CATALOGUE.values():
        for file in data.files:
            assert file.layout in {"", *LAYOUTS}
    for name in ("shd", "ssc", "n-mnist", "cifar10-dvs", "dvs128-gesture"):
        assert "no checksum of the publisher's is known here" in catalogue.CATALOGUE[name].summary
