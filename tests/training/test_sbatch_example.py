"""The script of docs/cluster.md for several nodes trains with two processes, here on one machine without Slurm."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import distributed

from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.run import Run

SCRIPT = Path(__file__).parents[2] / "docs" / "examples" / "two_nodes.sbatch"

# What Slurm's programs do for the script: a task a node, all on this machine.
PROGRAMS = {
    "scontrol": "printf '127.0.0.1\\n127.0.0.1\\n'",
    "srun": '"$@" & first=$!\n"$@" & second=$!\nwait $first; a=$?; wait $second; b=$?; exit $((a > b ? a : b))',
    "torchrun": f'exec "{sys.executable}" -m torch.distributed.run --local-addr 127.0.0.1 "$@"',
}


def free_port() -> int:
    """A port from 20000 to 29999, which the script makes of the job's number."""
    for port in range(20000, 30000):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) != 0:
                return port
    pytest.fail("every port is taken")


@pytest.fixture
def submit(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script as a job on two nodes would; keyword arguments replace programs."""

    def run(*arguments: str, **programs: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        for name, text in (PROGRAMS | programs).items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
        slurm = {"SLURM_JOB_ID": str(free_port() - 20000), "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "a[1-2]"}
        environment = {**os.environ, **slurm, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        command = ["bash", str(SCRIPT), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run


def test_the_script_begins_a_run_or_continues_it(
    submit: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = submit(str(run), "recipe.yaml", "seed=1", srun='printf "%s|" "$@"')
    assert done.returncode == 0, done.stderr
    assert "|--nnodes|2|--nproc-per-node|1|" in done.stdout
    assert "|--rdzv-endpoint|127.0.0.1:2" in done.stdout
    assert done.stdout.endswith(f"|-m|neurozoo.cli|train|recipe.yaml|seed=1|--out|{run}|")
    run.mkdir()
    (run / "recipe.yaml").touch()
    done = submit(str(run), "recipe.yaml", "seed=1", srun='printf "%s|" "$@"')
    assert done.stdout.endswith(f"|train|--resume|{run}|")


@pytest.mark.slow
@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this torch has no gloo")
def test_the_script_trains_with_two_processes(
    submit: Callable[..., subprocess.CompletedProcess[str]], recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe()
    run = tmp_path / "runs" / "two"
    done = submit(str(run), str(tmp_path / "small.yaml"), "training.epochs=1")
    assert done.returncode == 0, done.stderr
    summary = Run(run).read_json("summary.json")
    assert (summary["environment"]["processes"], summary["epochs"]) == (2, 1)
