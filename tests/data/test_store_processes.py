"""Stores and several processes: readers beside a writer, two writers to one place, and a writer that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from neurozoo.data.store import Store, StoreWriter

MAKE = """
import sys
import numpy as np
from neurozoo.data.store import StoreWriter
def write(dest, value, wait=False, splits=("train", "test")):
    with StoreWriter(dest, labels=["glad"], origin={"value": value}, shard_samples=4) as writer:
        for split in splits:
            writer.add(split, {"text": np.full((64, 3, 2), value)}, np.ones((64, 1)))
        if wait:
            print("half", flush=True)
            sys.stdin.readline()
"""
READ = """
import sys
import torch
from neurozoo.data.store import Store
store = Store(sys.argv[1])
splits = [store.split(name) for name in ("train", "test")]
seen = [split.batch(torch.arange(2)).signals["text"].values.unique().tolist() for split in splits]
print("open", flush=True)
for line in sys.stdin:
    for split in splits:
        assert split.batch(torch.randperm(64)).signals["text"].values.unique().tolist() == seen[0], seen
    print("read", flush=True)
"""


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def tell(process: subprocess.Popen[str]) -> str:
    """A line to a process, and its answer."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    return answer(process)


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    found = [(process, process.communicate(timeout=60)) for process in processes]
    return [(process.returncode, error) for process, (_, error) in found]


def leftovers(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.slow
def test_two_readers_and_a_writer(tmp_path: Path) -> None:
    dest = tmp_path / "store"
    writing = MAKE + "write(sys.argv[1], 1.0)"
    assert ended(started(writing, dest)) == [(0, "")]
    readers = [started(READ, dest), started(READ, dest)]
    assert [answer(reader) for reader in readers] == ["open", "open"]
    # A writer to the same place is turned away, and the readers go on.
    [(status, error)] = ended(started(writing, dest))
    assert status == 1
    assert "is not empty; remove it first" in error
    assert [tell(reader) for reader in readers] == ["read", "read"]
    # Somebody removes the store and writes another there: who has it open still reads the old one.
    dest.rename(tmp_path / "old")
    assert ended(started(MAKE + "write(sys.argv[1], 2.0)", dest)) == [(0, "")]
    assert [tell(reader) for reader in readers] == ["read", "read"]
    assert ended(*readers) == [(0, "")] * 2
    assert Store(dest).split("train").batch(torch.arange(3)).signals["text"].values.unique().tolist() == [2.0]
    assert Store(dest).changed() == []


def test_of_two_writers_one_is_first_and_the_other_is_told(tmp_path: Path) -> None:
    dest = tmp_path / "store"
    slow = started(MAKE + "write(sys.argv[1], 1.0, wait=True)", dest)
    assert answer(slow) == "half"
    assert len(leftovers(tmp_path)) == 1
    assert ended(started(MAKE + "write(sys.argv[1], 2.0)", dest)) == [(0, "")]
    assert len(leftovers(tmp_path)) == 1, "the folder of a living writer was removed"
    status, error = (tell(slow), ended(slow))[1][0]
    assert status == 1
    assert f"the store {dest} could not be written" in error
    assert leftovers(tmp_path) == []
    assert Store(dest).description.origin == {"value": 2.0}
    assert Store(dest).changed() == []


def test_a_killed_writer_leaves_no_store_and_the_next_one_clears_up(tmp_path: Path) -> None:
    dest = tmp_path / "store"
    killed = started(MAKE + "write(sys.argv[1], 1.0, wait=True)", dest)
    assert answer(killed) == "half"
    killed.send_signal(signal.SIGKILL)
    assert ended(killed)[0][0] == -signal.SIGKILL
    assert not dest.exists()
    assert len(leftovers(tmp_path)) == 1
    with StoreWriter(tmp_path / "other", labels=["glad"], origin={}) as writer:
        writer.add("train", {"text": np.ones((1, 1, 1))}, [[1]])
    assert len(leftovers(tmp_path)) == 1, "that of another store was removed"
    with StoreWriter(dest, labels=["glad"], origin={}) as writer:
        writer.add("train", {"text": np.ones((1, 1, 1))}, [[1]])
    assert leftovers(tmp_path) == []
    assert Store(dest).description.splits == {"train": 1}
