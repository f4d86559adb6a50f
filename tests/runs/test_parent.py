"""Workers end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neurozoo.errors import UserError
from neurozoo.studies.launchers.local import LocalJobs

WORKER = (
    "import os, sys, time; from neurozoo.runs.parent import end_with_parent; end_with_parent(int(sys.argv[1])); "
    "open(sys.argv[2], 'w').close(); time.sleep(120)"
)
PARENT = (
    "import os, subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid()), sys.argv[2]]); "
    "print(child.pid, flush=True); time.sleep(120)"
)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.skipif(os.name != "posix", reason="orphans get another parent on POSIX alone")
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, WORKER, str(ready)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        deadline = time.monotonic() + 60
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive(worker)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(worker)


def test_workers_run_commands() -> None:
    lines: list[str] = []
    with LocalJobs(1) as commands:
        commands.run("list", ["list", "recipes", "--json"], lines.append)
        with pytest.raises(UserError, match="train: error: no recipe is named"):
            commands.run("train", ["train", "--json"])
    assert lines == []
