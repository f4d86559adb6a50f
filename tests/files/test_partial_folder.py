"""A folder is written whole or not at all, however an empty one is reached, and by one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.files import locks
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.partial_folder import PartialFolder, is_free

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and locks of POSIX")


def _fill(dest: Path) -> None:
    new = PartialFolder(dest, marker="marker")
    try:
        (new.path / "marker").write_text("m")
        (new.path / "other").write_text("o")
        new.finish()
    finally:
        new.close()


def _missing(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    return at / "new" / "dest", at / "new" / "dest"


def _empty(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (at / "dest").mkdir()
    return at / "dest", at / "dest"


def _current(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (at / "dest").mkdir()
    monkeypatch.chdir(at / "dest")
    return Path("."), at / "dest"


def _link(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (at / "dest").mkdir()
    (at / "link").symlink_to("dest")
    return at / "link", at / "dest"


def _dangling(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (at / "link").symlink_to("dest")
    return at / "link", at / "dest"


def _mount(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A folder that can be neither renamed nor removed, as a mount point."""
    (at / "dest").mkdir()

    def busy(path: Path, *args: object) -> None:
        if path == at / "dest":
            raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rmdir", lambda path, rmdir=Path.rmdir: busy(path) or rmdir(path))
    return at / "dest", at / "dest"


def _littered(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    (at / "dest").mkdir()
    (at / "dest" / ".DS_Store").touch()
    return at / "dest", at / "dest"


WAYS = [_missing, _empty, _current, _link, _dangling, _mount, _littered]


@pytest.mark.parametrize("way", WAYS)
def test_a_free_folder_is_filled_however_it_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., tuple[Path, Path]]
) -> None:
    dest, real = way(tmp_path, monkeypatch)
    assert is_free(dest)
    _fill(dest)
    assert {each.name for each in real.iterdir()} - {".DS_Store"} == {"marker", "other"}
    assert not list(tmp_path.rglob("*.partial"))
    assert not is_free(dest)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., tuple[Path, Path]]
) -> None:
    dest, _ = way(tmp_path, monkeypatch)
    new = PartialFolder(dest)
    (new.path / "file").touch()
    new.close()
    assert is_free(dest)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_second_writer_is_refused_before_it_works(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    first = PartialFolder(dest)
    with pytest.raises(BlockingIOError):
        PartialFolder(dest)
    first.finish()
    with pytest.raises(BlockingIOError):  # held until it is closed
        lock_folder(dest, wait=False)
    first.close()
    unlock_folder(lock_folder(dest, wait=False))


def test_the_lock_of_a_new_folder_can_be_kept_through_its_renaming(tmp_path: Path) -> None:
    new = PartialFolder(tmp_path / "dest")
    new.finish()
    lock = new.take_lock()
    new.close()
    with pytest.raises(BlockingIOError):
        lock_folder(tmp_path / "dest", wait=False)
    unlock_folder(lock)
    unlock_folder(lock_folder(tmp_path / "dest", wait=False))


def test_an_abandoned_folder_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    used = PartialFolder(tmp_path / "dest")
    abandoned = tmp_path / ".dest.12345678.partial"
    abandoned.mkdir()
    _fill(tmp_path / "dest")
    assert not abandoned.exists()
    assert used.path.exists()
    with pytest.raises(OSError):
        used.finish()
    used.close()
    assert {each.name for each in (tmp_path / "dest").iterdir()} == {"marker", "other"}


@pytest.mark.parametrize("content", ["file", "folder/file"])
def test_a_folder_with_content_is_not_free(tmp_path: Path, content: str) -> None:
    path = tmp_path / "dest" / content
    path.parent.mkdir(parents=True)
    path.touch()
    assert not is_free(tmp_path / "dest")
    assert not is_free(path)
    for dest in (tmp_path / "dest", path):
        with pytest.raises(OSError):
            PartialFolder(dest)


def test_links_that_lead_to_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        PartialFolder(tmp_path / "a")


def test_a_file_system_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    locks._warn_of_no_locks.cache_clear()
    with pytest.warns(UserWarning, match="no locks .Function not implemented"):
        _fill(tmp_path / "dest")
    assert sorted(each.name for each in (tmp_path / "dest").iterdir()) == ["marker", "other"]
    assert not list(tmp_path.glob("*.partial"))


def test_only_a_held_lock_means_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output error") as caught:
        lock_folder(tmp_path, wait=False)
    assert not isinstance(caught.value, BlockingIOError)
    with pytest.raises(OSError, match="Input/output error"):
        PartialFolder(tmp_path / "dest")
    assert not list(tmp_path.iterdir())
