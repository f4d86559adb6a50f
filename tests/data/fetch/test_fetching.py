"""Fetching from a server that breaks off, lies about sizes and serves wrong bytes."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.data.fetch.catalogue import PublicData
from neurozoo.data.fetch.fetching import Fetch
from neurozoo.errors import ChangedError, FetchError, NeurozooError
from neurozoo.files.locks import lock_folder, unlock_folder

Server = Any
"""The one of conftest.py."""
DataAt = Callable[[str], PublicData]
Wait = Callable[[float], None]
FEATURES = "features.csd"
FOLDS = b"standard_train_fold=['a']\nstandard_valid_fold=['b']\nstandard_test_fold=['c']\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "fetched"


def there(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def whole(folder: Path, server: Server) -> None:
    """The files are what the server has, and nothing else is there."""
    assert (folder / "deep" / "features.csd").read_bytes() == server.files[FEATURES]
    assert (folder / "folds.py").read_bytes() == FOLDS
    assert there(folder) == ["checksums.json", "deep/features.csd", "folds.py"]
    assert not (folder / ".fetching").exists()


def test_files_come_whole_and_their_checksums_are_recorded(
    server: Server, tiny: PublicData, folder: Path, wait: Wait
) -> None:
    heard: list[tuple[str, int, int | None]] = []
    job = Fetch(tiny, folder, wait=wait)
    needs = job.needs()
    size = len(server.files[FEATURES])
    assert (needs.files, needs.unsaid) == (("deep/features.csd", "folds.py"), ())
    assert needs.download == size + len(FOLDS)
    assert needs.free > needs.download
    files = job.run(lambda *told: heard.append(told))
    assert [(file.path, file.state) for file in files] == [("deep/features.csd", "fetched"), ("folds.py", "fetched")]
    assert heard[0] == ("deep/features.csd", 0, size)
    assert heard[-1] == ("folds.py", len(FOLDS), len(FOLDS))
    whole(folder, server)
    record = json.loads((folder / "checksums.json").read_text())
    assert record["files"]["folds.py"] == {
        "url": f"{server.url}/folds.py",
        "bytes": len(FOLDS),
        "sha256": hashlib.sha256(FOLDS).hexdigest(),
    }
    before = len(server.asked)
    assert [file.state for file in Fetch(tiny, folder, wait=wait).run()] == ["kept", "kept"]
    assert len(server.asked) == before, "what is there was asked for again"


def test_it_goes_on_where_it_broke_off(
    server: Server, tiny: PublicData, folder: Path, wait: Wait, waits: list[float]
) -> None:
    server.faults[FEATURES] = ["cut 131072", "503", "cut 65600"]
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)
    assert server.gets(FEATURES) == ["", "bytes=131072-", "bytes=131072-", "bytes=196672-"]
    assert waits == [1, 2, 1], "a try that brought something begins the waits anew"


def test_a_later_command_goes_on_where_the_last_one_gave_up(
    server: Server, tiny: PublicData, folder: Path, wait: Wait
) -> None:
    server.faults[FEATURES] = ["cut 131072", *["503"] * 5]
    with pytest.raises(FetchError, match=r"503 .*; 131,072 bytes are kept, and the same command continues from there"):
        Fetch(tiny, folder, wait=wait).run()
    assert not (folder / "deep").exists()
    asked = len(server.asked)
    job = Fetch(tiny, folder, wait=wait)
    assert job.needs().download == len(server.files[FEATURES]) - 131072 + len(FOLDS)
    job.run()
    whole(folder, server)
    assert ("GET", FEATURES, "bytes=131072-") in server.asked[asked:]


@pytest.mark.parametrize("lacking", ["ranges", "tags"])
def test_a_server_that_cannot_go_on_is_asked_for_all_of_it(
    server: Server, tiny: PublicData, folder: Path, wait: Wait, lacking: str
) -> None:
    setattr(server, lacking, False)
    server.faults[FEATURES] = ["cut 131072"]
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)


def test_a_file_that_changed_between_two_tries_is_not_sewn_together(
    server: Server, tiny: PublicData, folder: Path, wait: Wait
) -> None:
    server.faults[FEATURES] = ["cut 131072", *["503"] * 5]
    with pytest.raises(FetchError):
        Fetch(tiny, folder, wait=wait).run()
    old = server.files[FEATURES]
    server.files[FEATURES] = old[:150_000] + bytes(20) + old[150_020:]
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)


def test_a_wrong_stretch_is_not_taken(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    server.faults[FEATURES] = ["cut 131072", "shifted"]
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)
    assert server.gets(FEATURES) == ["", "bytes=131072-", ""]


def test_a_length_that_is_too_long_is_a_break(
    server: Server, tiny: PublicData, folder: Path, wait: Wait, waits: list[float]
) -> None:
    server.heads = False
    server.faults["folds.py"] = ["long"] * 20
    with pytest.raises(FetchError, match=r"folds\.py: .*bytes are kept"):
        Fetch(tiny, folder, wait=wait).run()
    assert len(waits) < 20, "it goes on for ever"
    assert "folds.py" not in there(folder)


def test_a_length_that_is_too_short_is_seen(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    server.faults[FEATURES] = ["short"]
    with pytest.raises(FetchError, match=r"the server announced [\d,]+ bytes and sent [\d,]+; nothing of it is kept"):
        Fetch(tiny, folder, wait=wait).run()
    assert there(folder) == []


def test_a_file_that_was_cut_without_a_word_is_seen(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    server.heads = False
    server.faults[FEATURES] = ["short"]
    with pytest.raises(FetchError, match=r"features\.csd: the file is not read.* HDF5 file .*; nothing of it is kept"):
        Fetch(tiny, folder, wait=wait).run()
    assert there(folder) == []
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)


def test_wrong_bytes_are_seen(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    server.files[FEATURES] = bytes(50_000)
    with pytest.raises(FetchError, match="the file is not read: not a whole HDF5 file"):
        Fetch(tiny, folder, wait=wait).run()
    server.files["folds.py"] = b"import os; os.system('true')"
    with pytest.raises(FetchError, match="the file: folds are a JSON object"):
        Fetch(tiny, folder, ["folds"], wait=wait).run()
    assert there(folder) == []


def test_a_web_page_is_no_file(server: Server, tiny: PublicData, folder: Path, wait: Wait, waits: list[float]) -> None:
    server.faults[FEATURES] = ["html"]
    with pytest.raises(FetchError, match="the server sent a web page and not the file"):
        Fetch(tiny, folder, wait=wait).run()
    assert waits == []
    assert there(folder) == []


def test_a_missing_file_is_not_asked_for_again(
    server: Server, tiny: PublicData, folder: Path, wait: Wait, waits: list[float]
) -> None:
    with pytest.raises(FetchError, match=r"more\.bin: the server answers 404"):
        Fetch(tiny, folder, ["more"], wait=wait).run()
    server.faults[FEATURES] = ["403"]
    with pytest.raises(FetchError, match=r"features\.csd: the server answers 403"):
        Fetch(tiny, folder, wait=wait).run()
    assert waits == []


def test_no_server_at_all(folder: Path, wait: Wait, data_at: DataAt) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        job = Fetch(data_at(url), folder, wait=wait)
        with pytest.raises(FetchError) as caught:
            job.needs()
    text = str(caught.value)
    assert "the server cannot be reached" in text
    assert f"{url}/features.csd\n    -> {folder / 'deep' / 'features.csd'}" in text
    assert f"{url}/folds.py\n    -> {folder / 'folds.py'}" in text
    assert "more.bin" not in text
    assert not folder.exists()


def test_files_put_there_by_hand_are_taken(server: Server, folder: Path, wait: Wait, data_at: DataAt) -> None:
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "features.csd").write_bytes(server.files[FEATURES])
    (folder / "folds.py").write_bytes(FOLDS)
    files = Fetch(data_at("http://127.0.0.1:9"), folder, wait=wait).run()
    assert [file.state for file in files] == ["found", "found"]
    whole(folder, server)


def test_a_wrong_file_put_there_by_hand_is_refused(tiny: PublicData, folder: Path, wait: Wait) -> None:
    folder.mkdir()
    (folder / "folds.py").write_bytes(b"<html>")
    with pytest.raises(NeurozooError, match=r"folds\.py cannot be read as Python"):
        Fetch(tiny, folder, ["folds"], wait=wait).run()
    assert "checksums.json" not in there(folder)


def test_a_file_that_changed_on_disk(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    Fetch(tiny, folder, wait=wait).run()
    path = folder / "deep" / "features.csd"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ChangedError, match=r"features\.csd: changed since it first came.*--again") as caught:
        Fetch(tiny, folder, wait=wait).run()
    assert caught.value.exit_status == 3
    Fetch(tiny, folder, ["features"], again=True, wait=wait).run()
    whole(folder, server)


def test_a_file_that_changed_on_the_server(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    Fetch(tiny, folder, wait=wait).run()
    old = server.files["folds.py"]
    server.files["folds.py"] = old.replace(b"'a'", b"'z'")
    with pytest.raises(ChangedError, match=r"the server has other bytes .* remove 'folds\.py' from .*checksums\.json"):
        Fetch(tiny, folder, ["folds"], again=True, wait=wait).run()
    assert (folder / "folds.py").read_bytes() == old
    record = json.loads((folder / "checksums.json").read_text())
    del record["files"]["folds.py"]
    (folder / "checksums.json").write_text(json.dumps(record))
    Fetch(tiny, folder, ["folds"], again=True, wait=wait).run()
    assert (folder / "folds.py").read_bytes() == server.files["folds.py"]


def test_a_full_disk_keeps_what_came(
    tiny: PublicData, folder: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FetchError, match=r"No space left on device; [\d,]+ bytes are kept"):
        Fetch(tiny, folder, wait=wait).run()


def test_room_is_asked_for_first(
    server: Server, tiny: PublicData, folder: Path, wait: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(FetchError, match=r"bytes are to come and 1,000 are free; make room, give another --to"):
        Fetch(tiny, folder, wait=wait).run()
    assert server.gets(FEATURES) == []
    assert not folder.exists()


def test_two_at_once(server: Server, tiny: PublicData, folder: Path, wait: Wait) -> None:
    folder.mkdir()
    lock = lock_folder(folder)
    with pytest.raises(NeurozooError, match="another process is fetching to it"):
        Fetch(tiny, folder, wait=wait).run()
    unlock_folder(lock)
    Fetch(tiny, folder, wait=wait).run()
    whole(folder, server)


def test_a_folder_of_other_data(tiny: PublicData, folder: Path, wait: Wait) -> None:
    folder.mkdir()
    (folder / "checksums.json").write_text('{"name": "other", "accepted": "", "files": {}}')
    with pytest.raises(NeurozooError, match="holds other, and not tiny; give another folder with --to"):
        Fetch(tiny, folder, wait=wait)
    (folder / "checksums.json").write_text("{")
    with pytest.raises(NeurozooError, match="is not a record of checksums"):
        Fetch(tiny, folder, wait=wait)
