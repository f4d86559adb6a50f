"""Kill -9 at random moments: the same command continues, and ends with the same bits as one that nobody disturbed."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import forked

__all__ = ["JOBS", "Job", "Kills", "kill_at_random"]

SECONDS = 180.0
"""How long an undisturbed command may take here."""
ORPHANS = 20.0
"""Seconds within which the processes that a killed one has started end."""


@dataclass(frozen=True)
class Job:
    """A command that can be killed and given again.

    Attributes:
        name: For the report.
        command: Arguments, in which RECIPE is the samples' recipe, HERE its folder and OUT the folder to make.
        result: Bits of what it made that must not depend on kills.
    """

    name: str
    command: tuple[str, ...]
    result: Callable[[Path], dict[str, str]]

    def first(self, recipe: Path, out: Path) -> list[str]:
        """The arguments."""
        filled = {"RECIPE": recipe, "HERE": recipe.parent, "OUT": out}
        return [each.format(**filled) for each in self.command]

    def again(self, recipe: Path, out: Path) -> list[str]:
        """The arguments after a kill: the same, but a run that has begun is resumed."""
        if self.name != "train" or not (out / "run.json").exists():
            return self.first(recipe, out)
        return ["train", "--resume", str(out)]


@dataclass
class Kills:
    """What came of some kills of one job.

    Attributes:
        killed: How many times a process was ended while it ran.
        missed: How many times it had ended before.
        faults: What was wrong, with the seed.
    """

    killed: int = 0
    missed: int = 0
    faults: list[str] = field(default_factory=list)


def _tensors(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*.safetensors") if "state" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def _metrics(path: Path) -> str:
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return json.dumps([{key: value for key, value in each.items() if key != "seconds"} for each in records])


def _of_runs(folder: Path) -> dict[str, str]:
    metrics = {str(path.relative_to(folder)): _metrics(path) for path in sorted(folder.rglob("metrics.jsonl"))}
    return _tensors(folder) | metrics


def _of_files(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _of_trials(folder: Path) -> dict[str, str]:
    best = json.loads((folder / "best.json").read_text())
    return {"trials": json.dumps(best["trials"])}


JOBS = (
    Job("train", ("train", "{RECIPE}", "--out", "{OUT}"), _of_runs),
    Job("import", ("data", "import", "mfn", "{HERE}/mfn", "{OUT}"), _of_files),
    Job("pack", ("pack", "{HERE}/run", "--out", "{OUT}"), _of_files),
    Job("train --seeds", ("train", "{RECIPE}", "training.epochs=1", "--seeds", "2", "--out", "{OUT}"), _of_runs),
    Job("tune", ("tune", "{RECIPE}", "training.epochs=1", "--trials", "3", "--out", "{OUT}"), _of_trials),
)


def kill_at_random(job: Job, recipe: Path, folder: Path, seed: int, kills: int, until: float) -> Kills:
    """Kill a job at random moments of its run, one after another until it ends, again and again.

    Args:
        job: What is killed.
        recipe: The recipe among the samples.
        folder: For what it makes.
        seed: Decides the moments, as parts of an undisturbed run's time.
        kills: How many processes are to be killed.
        until: When to end at the latest, as of ``time.monotonic``.
    """
    done = Kills()
    folder.mkdir(parents=True, exist_ok=True)
    log, whole = folder / "stderr", folder / "whole"
    ended = forked.run(forked.call(job.first(recipe, whole)), log, seconds=SECONDS)
    if ended.status != 0:
        done.faults.append(f"{job.name} does not run: {ended.problem}; {ended.stderr[-500:]}")
        return done
    want, usual = job.result(whole), ended.seconds
    number = 0
    while done.killed < kills and time.monotonic() < until and number < 4 * kills:
        out, number = folder / f"out-{number}", number + 1
        random = Random(f"{seed}:{job.name}:{number}")
        where = f"seed {seed}, {job.name} {number}"
        arguments, killed = job.first(recipe, out), 0
        for _ in range(random.choice((1, 1, 2, 3))):
            child = forked.start(forked.call(arguments), log)
            time.sleep(random.random() * usual)
            gone = forked.kill_alone(child, ORPHANS)
            status = forked.wait(child, 10)
            if not gone:
                done.faults.append(f"{where}: what it started still runs {ORPHANS:.0f} s after it was killed")
            killed += status == -9
            done.missed += status != -9
            if status != -9:
                break
            arguments = job.again(recipe, out)
        done.killed += killed
        ended = forked.run(forked.call(job.again(recipe, out) if killed else arguments), log, seconds=SECONDS)
        finished_before = not killed or (
            ended.status == 2 and ("finished" in ended.stderr or "not empty" in ended.stderr)
        )
        if ended.status != 0 and not finished_before:
            done.faults.append(f"{where}: does not continue: {ended.problem}: {ended.stderr[-500:]}")
        elif (got := job.result(out)) != want:
            differ = sorted(name for name in want.keys() | got.keys() if want.get(name) != got.get(name))
            done.faults.append(f"{where}: other bits after {killed} kills in {', '.join(differ)}")
        left_behind = [path.name for path in folder.iterdir() if path.name not in ("stderr", "whole", out.name)]
        if left_behind:
            done.faults.append(f"{where}: left behind: {', '.join(left_behind)}")
        shutil.rmtree(out, ignore_errors=True)
        for name in left_behind:
            shutil.rmtree(folder / name, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    return done
