"""A file is written whole or not at all, by any number of writers, and never through a link."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neurozoo.files.writing import append_line, check_appendable, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices of POSIX")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new", inside=tmp_path)
    assert path.read_bytes() == b"new"
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def _write(path: Path, size: int) -> None:
    for _ in range(40):
        write_whole(path, bytes([size]) * 1000 * size)


def test_writers_of_one_file_all_succeed_and_readers_see_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"\1" * 1000)
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    writers = [context.Process(target=_write, args=(path, size)) for size in (1, 2, 3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content == bytes([content[0]]) * 1000 * content[0]
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@posix
def test_a_link_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    folder.mkdir()
    victim.write_bytes(b"precious")
    (folder / "file").symlink_to(victim)
    for name in (".file.partial", "file.partial"):
        (folder / name).symlink_to(victim)
    write_whole(folder / "file", b"new", inside=folder)
    assert victim.read_bytes() == b"precious"
    assert (folder / "file").read_bytes() == b"new"


@posix
def test_nothing_is_written_below_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder" / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder" / "checkpoints" / "file", b"new", inside=tmp_path / "folder")
    with pytest.raises(OSError):
        append_line(tmp_path / "folder" / "checkpoints" / "file", "new", inside=tmp_path / "folder")
    assert not list((tmp_path / "elsewhere").iterdir())


@posix
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
def test_a_line_is_appended_to_a_file_of_its_own_only(tmp_path: Path, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "log"
    victim.write_bytes(b"precious")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        path.hardlink_to(victim)
    else:
        os.mkfifo(path)
    with pytest.raises(OSError):
        append_line(path, "line")
    with pytest.raises(OSError):
        check_appendable(path)
    assert victim.read_bytes() == b"precious"


def test_lines_are_appended(tmp_path: Path) -> None:
    check_appendable(tmp_path / "log")
    append_line(tmp_path / "log", "größe")
    append_line(tmp_path / "log", "b", inside=tmp_path, sync=True)
    assert (tmp_path / "log").read_bytes() == "größe\nb\n".encode()


@posix
def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(OSError, match="not a regular file"):
            write_whole(path, b"")


@posix
def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib; from neurozoo.files import writing; writing.os.replace = lambda *a, **k: (print(), "
        "sys.stdout.flush(), __import__('time').sleep(60)); writing.write_whole(pathlib.Path(sys.argv[1]), b'half')"
    )
    path = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        partial = next(tmp_path.iterdir())
        write_whole(path, b"of another")  # the first is at work: its file stays
        assert partial.exists()
        writer.kill()
    write_whole(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@posix
def test_a_name_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_whole(path, b"content")
    assert path.read_bytes() == b"content"
