"""Hundreds of odd command lines: no traceback, no wait, one error that names the cause, and nothing left behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from neurozoo.cli import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, devices and timers of POSIX")

WORDS = (
    "", " ", "-", ".", "..", "/", "/dev/null", "/dev/full", "/dev/zero", "pipe", "empty", "text", "bytes", "loop",
    "nowhere", "x" * 300, f"x/{'y' * 300}", "text/x", "\x1b]0;t\x07", "a\u202eb", "no\nline", "~nobody/x", "nul.yaml",
    "latin.yaml", "deep.yaml", "folder.yaml", "junk.npz", "folder.npz", "junk.nir", "\udcff", "-1", "1e999", "[/red]",
    "deep.jsonl", "infinite.jsonl", "a=b", "=", "--", "cuda:9", "null", "{}", "9" * 40,
)  # fmt: skip
COMMANDS = (
    "train WORD --dry-run", "train spiking_convnet WORD --dry-run", "train spiking_convnet --backend WORD --dry-run",
    "train --resume WORD", "train spiking_convnet --from WORD", "train spiking_convnet data.root=WORD --dry-run",
    "show WORD", "list WORD", "evaluate WORD", "verify WORD", "predict WORD x", "profile WORD", "report WORD",
    "report WORD WORD", "pack WORD", "compare WORD WORD", "compare --backends WORD", "compare --backends torch,WORD",
    "results WORD", "data info WORD", "data check WORD", "data guess WORD", "data import WORD a b",
    "data import mulan WORD out", "data fetch WORD", "data fetch pom --only WORD --to to", "nir import WORD --out out",
    "nir export WORD --out out", "plugins check WORD", "plugins check pooled WORD", "plugins check --kind WORD x",
    "plugins new WORD --kind fusion --out text/x", "plugins new mine --kind WORD", "bench data WORD",
    "bench neurons --backends torch --device WORD", "bench neurons --shape WORD", "bench train WORD", "WORD",
    "train spiking_convnet --seeds WORD",
)  # fmt: skip
# Command lines of which a word is answered, as it names nothing (`--`, an empty override) or what is there.
ANSWERED = (
    "data guess", "data fetch", "list", "plugins check pooled", "train spiking_convnet WORD",
    "train spiking_convnet data.root",
)  # fmt: skip


class Waited(BaseException):
    """A command did not end in time."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a file of each odd kind; a command that waits in it is ended."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello\n")
    (tmp_path / "bytes").write_bytes(bytes(range(256)))
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nul.yaml").write_bytes(b"a: \x00\n")
    (tmp_path / "latin.yaml").write_bytes(b"description: caf\xe9\n")
    (tmp_path / "deep.yaml").write_text(f"a: {'[' * 300}{']' * 300}\n")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "junk.npz").write_bytes(b"PK\x03\x04junk")
    (tmp_path / "junk.nir").write_bytes(b"\x89HDF\r\n\x1a\njunk")
    (tmp_path / "deep.jsonl").write_text("[" * 3000 + "]" * 3000)
    (tmp_path / "infinite.jsonl").write_text('{"signals": {"timbre": [[1e400]]}}')
    os.mkfifo(tmp_path / "pipe")

    def waited(number: int, frame: FrameType | None) -> NoReturn:
        raise Waited

    before = signal.signal(signal.SIGALRM, waited)
    yield tmp_path
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_odd_word_is_refused_in_a_line(
    command: str, every: int, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    before = sorted(folder.rglob("*"))
    for word in WORDS[COMMANDS.index(command) % every :: every]:
        if (command, word) == ("data guess WORD", "/"):
            word = "/dev"  # every file below the folder is listed, and the whole disk takes half a minute
        arguments = [part.replace("WORD", word) for part in command.split(" ")]
        signal.alarm(120)
        status = main(arguments)
        signal.alarm(0)
        out, err = capsys.readouterr()
        case = f"{arguments!a}: {err[-500:]!a}"
        assert "Traceback" not in err, case
        assert "bug" not in err, case
        assert all(sign.isprintable() or sign in "\n\t" for sign in out + err), case
        if status == 0:
            assert command.startswith(ANSWERED) or "--help" in out or out.startswith("Usage: "), case
        else:
            assert status in (1, 2, 3), case
            assert err.splitlines()[-1].startswith("error: ") or "error: " in err, case
            assert status == 2 or "memory" in err or status == 3, case
    assert sorted(folder.rglob("*")) == before, command
