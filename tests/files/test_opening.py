"""Files are opened only if they are files, and in a stranger's folder only if they lie in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.errors import DataError, RunError
from neurozoo.files.opening import open_regular, read_bytes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices of POSIX")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "file").write_bytes(b"content")
    return folder


def test_a_file_is_read(folder: Path) -> None:
    assert read_bytes(folder / "below" / "file") == b"content"
    assert read_bytes(folder / "below" / "file", inside=folder) == b"content"


LINKS: dict[str, Callable[[Path, Path], Path]] = {
    "link": lambda folder, secret: (folder / "file").symlink_to(secret) or folder / "file",  # type: ignore[func-returns-value]
    "hard link": lambda folder, secret: (folder / "file").hardlink_to(secret) or folder / "file",  # type: ignore[func-returns-value]
    "linked folder": lambda folder, secret: (folder / "up").symlink_to(secret.parent) or folder / "up" / "secret",  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("make", LINKS.values(), ids=LINKS)
def test_a_strangers_folder_does_not_lend_out_other_files(
    folder: Path, secret: Path, make: Callable[[Path, Path], Path]
) -> None:
    path = make(folder, secret)
    assert read_bytes(path) == b"secret"  # a user's own links are followed
    with pytest.raises(RunError, match=r"link|[Nn]ot a directory"):
        read_bytes(path, inside=folder, error=RunError)


def test_a_path_that_leads_out_is_refused(folder: Path, secret: Path) -> None:
    with pytest.raises(DataError, match="not a file below"):
        read_bytes(folder / ".." / "secret", inside=folder)


@pytest.mark.parametrize("inside", [False, True])
def test_pipes_devices_and_folders_are_not_waited_for(folder: Path, inside: bool) -> None:
    os.mkfifo(folder / "pipe")
    for name, kind in [("pipe", "a pipe"), ("below", "a folder")]:
        with pytest.raises(DataError, match=f"is {kind}"):
            open_regular(folder / name, inside=folder if inside else None)
    with pytest.raises(DataError, match="is a device"):
        open_regular(Path(os.devnull))


@pytest.mark.parametrize("name", ["missing", "x" * 300, "nul\0", "below/file/deeper"])
def test_a_path_that_the_system_refuses_is_the_users(folder: Path, name: str) -> None:
    with pytest.raises(DataError):
        read_bytes(folder / name)
    with pytest.raises(DataError):
        read_bytes(folder / name, inside=folder)
