"""Several trainings, each in a process of its own and a few at a time; what is there already is used again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from neurozoo.errors import NeurozooError, RunError, UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.device import choose_device
from neurozoo.runs.run import Run

__all__ = ["ONE_THREAD", "Commands", "Training", "Trainings", "usable_jobs"]

ONE_THREAD = "training.threads=1"
"""What each is trained with, so that several at a time do not get into each other's way."""


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        name: What to call it.
        source: The recipe's file or name.
        overrides: Changes to it.
        folder: The run folder.
    """

    name: str
    source: str
    overrides: tuple[str, ...]
    folder: Path


class Trainings:
    """Trains in processes of their own, a few at a time; leaving the context stops those still running.

    A finished run of the same recipe and data is used again, and one that was stopped is resumed.

    Args:
        jobs: How many at a time.
        checksum: Of the data.
    """

    def __init__(self, jobs: int, checksum: str) -> None:
        self._commands, self._checksum = Commands(jobs), checksum

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, *exception: object) -> None:
        self._commands.__exit__(*exception)

    def run(self, trainings: Sequence[Training]) -> Iterator[tuple[Training, dict[str, Any]]]:
        """Each training with its run's summary, as they are done.

        Raises:
            RunError: A run folder is of another recipe or of other data.
            NeurozooError: A training failed.
        """
        futures = {self._commands.submit(self._summary, each): each for each in trainings}
        for future in as_completed(futures):
            yield futures[future], future.result()

    def _summary(self, training: Training) -> dict[str, Any]:
        """The summary of a run, which is trained now unless that was done before."""
        folder = training.folder
        arguments = [training.source, *training.overrides, "--out", str(folder)]
        begun = (folder / "recipe.yaml").is_file()
        if begun:
            self._wait_for_others(folder)
            self._check(training)
            if Run(folder).finished:
                return Run(folder).read_json("summary.json")
            arguments = ["--resume", str(folder)]
        try:
            self._commands.run(training.name, ["train", *arguments, "--json"])
        except UserError:
            if begun or not (folder / "recipe.yaml").is_file():
                raise
            return self._summary(training)  # another process began it in the meantime
        return Run(folder).read_json("summary.json")

    def _wait_for_others(self, folder: Path) -> None:
        """Another process may train in it: the same command once more, or what a killed one left behind."""
        while not self._commands.left.is_set():
            try:
                unlock_folder(lock_folder(folder, wait=False))
            except OSError:
                self._commands.left.wait(0.2)
            else:
                return

    def _check(self, training: Training) -> None:
        run = Run(training.folder)
        # With the components' defaults of today, which a run of an earlier version does not name.
        made_with = load_recipe(run.recipe_path, registry=default_registry())
        wanted = load_recipe(training.source, training.overrides, registry=default_registry())
        if run.finished:
            summary = run.read_json("summary.json")
            same = made_with.is_of(summary.get("recipe_digest"))
            checksum = summary.get("data", {}).get("checksum")
        else:
            # One that was stopped at its very beginning may not have noted its data yet.
            there = (run.folder / "data.json").is_file()
            same, checksum = True, run.read_json("data.json").get("checksum") if there else self._checksum
        if not same or made_with.digest != wanted.digest or checksum != self._checksum:
            raise RunError(f"{training.folder}: made with another recipe or other data; give another --out")


def usable_jobs(device: str, most: int) -> int:
    """How many trainings at a time this machine has room for, from 1 to ``most``.

    As many as this process may use cores; one where an accelerator is used, which trainings would have to share.

    Args:
        device: ``training.device`` of the recipe.
        most: How many there are to do.

    Raises:
        UserError: The device is not there.
    """
    if choose_device(device).type != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, most))


T = TypeVar("T")


class Commands:
    """Runs commands from a few threads; leaving the context stops those still running.

    Args:
        jobs: How many at a time.

    Attributes:
        left: Set when the context is left, for who waits in a thread.
    """

    def __init__(self, jobs: int) -> None:
        self.left = Event()
        self._threads = ThreadPoolExecutor(jobs)
        self._running: set[subprocess.Popen[str]] = set()

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, *exception: object) -> None:
        self.left.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in list(self._running):
            process.terminate()
        self._threads.shutdown()

    def submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Do some work in one of the threads, as soon as one is free."""
        return self._threads.submit(work, *arguments)

    def run(self, name: str, arguments: Sequence[str], heard: Callable[[str], None] | None = None) -> None:
        """Run ``neurozoo ARGUMENTS`` to its end.

        Args:
            name: What errors call it.
            arguments: With ``--json`` among them, so that it tells of its progress: where this process is killed, the
                other one ends by itself when it next does.
            heard: Called with each line of its standard error output.

        Raises:
            UserError: What it was given cannot be used.
            NeurozooError: It failed.
        """
        told: list[str] = []
        with subprocess.Popen(
            [sys.executable, "-m", "neurozoo.cli", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._running.add(process)
            if self.left.is_set():
                process.terminate()
            assert process.stderr is not None
            for line in process.stderr:
                told.append(line.rstrip("\n"))
                if heard is not None:
                    heard(told[-1])
        self._running.discard(process)
        if process.returncode:
            errors = [line for line in told if line.startswith("error:")] or told[-3:]
            kind = UserError if process.returncode == UserError.exit_status else NeurozooError
            raise kind(f"{name}: {'; '.join(errors) or f'it ended with status {process.returncode}'}")
