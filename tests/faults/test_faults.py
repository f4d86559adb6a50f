"""The campaign of faults: a few seconds of it, and that it sees what it is there for."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.slow
def test_a_slice_of_it_finds_no_fault(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "run.py"), "--slice", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 2: 0 kinds of fault" in done.stdout


def _raises() -> int:
    raise KeyError("lost")


def _killed() -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def _printing(text: str, status: int) -> Callable[[], int]:
    def work() -> int:
        os.write(2, text.encode())
        return status

    return work


def _hangs() -> int:
    time.sleep(60)
    return 0


def _hungry() -> int:
    return len(bytearray(2**33)) * 0


@pytest.mark.parametrize(
    ("work", "verdict", "problem"),
    [
        (_printing("", 0), "read", ""),
        (_printing("error: x.json: line 3 is no number\n", 2), "refused", ""),
        (_printing("error: the disk is full\n", 1), "failed", ""),
        (_printing("", 2), "fault", "status 2: 'no message'"),
        (_printing("error: \x1b[31mred\n", 2), "fault", "status 2"),
        (_printing("error: KeyError: 'x'; this is a bug, please report it\n", 1), "fault", "status 1"),
        (_raises, "fault", "KeyError: 'lost'"),
        (_killed, "fault", "ended by SIGSEGV"),
        (_hangs, "fault", "did not end within 1 s"),
        (_hungry, "fault", "MemoryError"),
    ],
)
def test_what_comes_of_a_command_is_judged(work: Callable[[], int], verdict: str, problem: str, tmp_path: Path) -> None:
    import forked

    ended = forked.run(work, tmp_path / "stderr", seconds=1 if work is _hangs else 30, memory=2**30)
    assert ended.verdict == verdict
    assert verdict != "fault" or problem in ended.problem


def test_a_full_disk_is_one_for_files_and_not_for_messages(tmp_path: Path) -> None:
    import forked

    def work() -> int:
        try:
            (tmp_path / "file").write_bytes(bytes(1000))
        except OSError as error:
            os.write(2, f"error: {error.strerror}\n".encode() * 50)
            return 1
        return 0

    ended = forked.run_on_a_full_disk(work, tmp_path / "pipe", 100, seconds=30)
    assert (ended.verdict, ended.stderr) == ("failed", "error: File too large\n" * 50)
    assert (tmp_path / "file").stat().st_size == 100


def test_what_outlives_its_parent_is_seen(tmp_path: Path) -> None:
    import forked

    def work() -> int:
        subprocess.Popen(["sleep", "60"])
        time.sleep(60)
        return 0

    child = forked.start(work, tmp_path / "stderr")
    while len(forked.members(child)) < 2:
        time.sleep(0.01)
    assert not forked.kill_alone(child, 0.2)
    assert forked.wait(child, 10) == -signal.SIGKILL
    assert forked.kill_alone(child, 10)


def test_the_seed_decides_what_is_spoilt(tmp_path: Path) -> None:
    from mutations import spoil

    made = []
    for number in range(60):
        contents = []
        for folder in (tmp_path / "one", tmp_path / "two"):
            folder.mkdir()
            path = folder / "file.json"
            path.write_text('{"a": [1, 2, {"b": "c"}], "d": 0.5}\n')
            done = spoil(path, Random(f"{number}"))
            contents.append((done, path.read_bytes() if path.is_file() else None))
            shutil.rmtree(folder)
        assert contents[0] == contents[1]
        made.append(contents[0])
    assert len(set(made)) > 40
