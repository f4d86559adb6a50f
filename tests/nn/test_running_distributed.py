"""Running means are the same on every process; two processes on this machine, through a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import json, sys
import torch
from torch import distributed
from neurozoo.nn.running import RunningMean

rank, store = int(sys.argv[1]), distributed.FileStore(sys.argv[2], 2)
distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
mean = RunningMean((2,), momentum=0.5)
mean.update(torch.tensor([1.0, 2.0]) * (rank + 1), torch.tensor(rank + 1))
mean.update(torch.tensor([4.0, 4.0]) * rank, torch.tensor(rank))  # rank 0 has no samples
print(json.dumps(mean.value.tolist()))
distributed.destroy_process_group()
"""


def test_sums_and_counts_are_added_up_over_processes(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    # First 3 samples that sum to (3, 6), then one of (4, 4); weights 1/4 and 1/2, corrected.
    expected = [(0.25 * 1 + 0.5 * 4) / 0.75, (0.25 * 2 + 0.5 * 4) / 0.75]
    for rank in ranks:
        told, _ = rank.communicate(timeout=120)
        assert rank.returncode == 0
        assert json.loads(told) == pytest.approx(expected)
