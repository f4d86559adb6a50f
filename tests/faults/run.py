"""Try thousands of spoilt inputs, 100 kills, a full disk, several processes and a hostile server; write the figures.

usage: python tests/faults/run.py [--seed N] [--minutes M] [--jobs J] [--page docs/reliability.md] [--only NAME]
       python tests/faults/run.py --slice            (a few seconds of everything that is quick; writes nothing)
       python tests/faults/run.py --only NAME --seed N --number K      (one input again)

The exit status is 1 where anything came of it that should not; its seed, what was done and the command are printed, and
the input is kept in runs/faults/.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import forked
import machine
from fuzz import Tried, fuzz
from kills import JOBS, Kills, kill_at_random
from mutations import copied
from samples import Kind, filled, make_samples

KEPT = Path("runs") / "faults"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
INPUTS, KILLS, DISK = 0.5, 0.35, 0.15
"""Shares of the time."""
KILLED = {"train": (35, 0.2), "import": (25, 0.05), "pack": (20, 0.1), "train --seeds": (10, 0.4), "tune": (10, 0.25)}
"""How many of 100 kills each job gets, and which share of their time."""


def main() -> int:
    """Run the campaign, or a part of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(date.today().strftime("%Y%m%d")))
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--number", type=int)
    parser.add_argument("--slice", action="store_true")
    given = parser.parse_args()
    forked.preload()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        os.environ["NEUROZOO_DATA"] = str(folder / "data")
        kinds = make_samples(folder / "samples")
        recipe = folder / "samples" / "recipe.yaml"
        if not given.slice:
            _check_samples({name: kind for name, kind in kinds.items() if (given.only or "") in name}, folder)
        if given.number is not None:
            kind = next(kind for name, kind in kinds.items() if (given.only or "") in name)
            tried = fuzz(kind, given.seed, iter([given.number]), _in(60), folder / "work", KEPT)
            print(json.dumps({"verdicts": tried.verdicts, "faults": tried.faults}, indent=1))
            return int(bool(tried.faults))
        tasks = _slice(kinds, recipe, folder, given.seed) if given.slice else _all(kinds, recipe, folder, given)
        if given.only:
            tasks = {name: task for name, task in tasks.items() if given.only in name}
        begun = time.monotonic()
        found = _run(tasks, 1 if given.slice else given.jobs)
        took = time.monotonic() - begun
    faults = sum(len(result.faults) for result in found.values())
    print(f"seed {given.seed}: {faults} kinds of fault in {took:.0f} s")
    if given.page is not None:
        _write(given.page, found, given.seed, took)
    return int(bool(faults))


def _check_samples(kinds: Mapping[str, Kind], folder: Path) -> None:
    """Each sample is read by each of its commands before it is spoilt; otherwise a refusal says nothing."""
    for kind in kinds.values():
        for command in kind.commands:
            copy = copied(kind.source, _emptied(folder / "check") / kind.source.name)
            ended = forked.run(forked.call(filled(command, copy), copy.parent), folder / "stderr", seconds=120)
            if ended.verdict != "read":
                raise RuntimeError(f"{kind.name}: the unspoilt sample: {' '.join(command)}: {ended.stderr}")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _in(seconds: float) -> float:
    return time.monotonic() + seconds


def _all(
    kinds: Mapping[str, Kind], recipe: Path, folder: Path, given: argparse.Namespace
) -> dict[str, Callable[[], Any]]:
    seconds = given.minutes * 60 * given.jobs
    chosen = [kind.share for name, kind in kinds.items() if not given.only or given.only in name]
    each = seconds * (1.0 if given.only else INPUTS) / max(sum(chosen), 1.0)
    tasks: dict[str, Callable[[], Any]] = {}
    for job in JOBS:
        tasks[f"kill -9: {job.name}"] = lambda job=job, kills=KILLED[job.name]: kill_at_random(
            job, recipe, folder / f"kills-{job.name}", given.seed, kills[0], _in(seconds * KILLS * kills[1])
        )
    tasks |= {
        "4 processes": lambda: machine.several_processes(recipe, folder / "several"),
        "full disk": lambda: machine.full_disk(recipe, folder / "disk", given.seed, 10, _in(seconds * DISK)),
        "full standard output": lambda: machine.full_output(recipe.parent, folder / "output"),
        "hostile server": lambda: machine.hostile_server(folder / "server"),
    }
    for name, kind in kinds.items():
        tasks[name] = lambda name=name, kind=kind: fuzz(
            kind, given.seed, itertools.count(), _in(each * kind.share), folder / f"work-{name}", KEPT
        )
    return tasks


def _slice(kinds: Mapping[str, Kind], recipe: Path, folder: Path, seed: int) -> dict[str, Callable[[], Any]]:
    tasks: dict[str, Callable[[], Any]] = {
        name: lambda name=name, kind=kind: fuzz(kind, seed, iter(range(2)), _in(60), folder / f"work-{name}", KEPT)
        for name, kind in kinds.items()
    }
    for job in JOBS[:3]:
        tasks[f"kill -9: {job.name}"] = lambda job=job: kill_at_random(
            job, recipe, folder / f"kills-{job.name}", seed, 1, _in(60)
        )
    return tasks


def _run(tasks: dict[str, Callable[[], Any]], jobs: int) -> dict[str, Any]:
    """Do tasks in forked workers, the longest first as they are written; results by name."""
    context = multiprocessing.get_context("fork")
    queue, waiting, running, found = context.SimpleQueue(), list(tasks), 0, {}

    def work(name: str) -> None:
        try:
            queue.put((name, tasks[name]()))
        except BaseException as error:
            queue.put((name, error))

    while waiting or running:
        while waiting and running < jobs:
            context.Process(target=work, args=(waiting.pop(0),)).start()
            running += 1
        name, result = queue.get()
        running -= 1
        if isinstance(result, BaseException):
            raise RuntimeError(f"{name} could not be tried") from result
        found[name] = result
        print(f"{name}: {_figures(result)}")
        _report(name, result)
        sys.stdout.flush()
    return {name: found[name] for name in tasks}


def _figures(result: Any) -> str:
    if isinstance(result, Tried):
        verdicts = result.verdicts
        return f"{sum(verdicts.values())} inputs: " + ", ".join(f"{count} {name}" for name, count in verdicts.items())
    if isinstance(result, Kills):
        return f"{result.killed} kills, {len(result.faults)} faults"
    return f"{result.tried} tried, {len(result.faults)} faults"


def _report(name: str, result: Any) -> None:
    """Print what is wrong."""
    if isinstance(result, Tried):
        for problem, inputs in result.faults.items():
            print("\n".join([f"FAULT {name}: {problem}", *(f"    {each}" for each in inputs)]))
    else:
        for fault in result.faults:
            print(f"FAULT {name}: {fault}")


def _write(page: Path, found: dict[str, Any], seed: int, took: float) -> None:
    """Put the figures into the page, between its marks."""
    import importlib.metadata

    inputs = {name: result for name, result in found.items() if isinstance(result, Tried)}
    lines = ["| Input | tried | read | refused | failed by name | faults |", "|---|---:|---:|---:|---:|---:|"]
    rows = [[name, *_verdicts(result)] for name, result in inputs.items()]
    total = ["**all**", *(sum(column) for column in zip(*(row[1:] for row in rows), strict=True))] if rows else []
    for row in (*rows, total):
        if row:
            lines.append(f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else cell for cell in row)} |")
    lines += ["", "| Fault | tried | survived |", "|---|---:|---:|"]
    for name, result in found.items():
        if not isinstance(result, Tried):
            tried = result.killed if isinstance(result, Kills) else result.tried
            lines.append(f"| {name} | {tried} | {tried - len(result.faults)} |")
    versions = f"neurozoo {importlib.metadata.version('neurozoo-toolkit')}, Python {platform.python_version()}"
    said = f"Measured on {date.today()} with {versions}, seed {seed}, in {took / 60:.0f} minutes."
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text("\n".join([f"{head}{BEGIN}", "", said, "", *lines, "", f"{END}{tail}"]), encoding="utf-8")


def _verdicts(result: Tried) -> list[int]:
    counts = [result.verdicts[name] for name in ("read", "refused", "failed", "fault")]
    return [sum(counts), *counts]


if __name__ == "__main__":
    shutil.rmtree(KEPT, ignore_errors=True)
    sys.exit(main())
