"""Delete runs, or what finished runs no longer need, by explicit criteria: what a plan names, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from neurozoo.errors import NeurozooError, RunError, UserError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.opening import opened_folder, sha256_of
from neurozoo.files.partial_folder import partial_name
from neurozoo.files.text import is_litter
from neurozoo.runs.packed import MANIFEST, WEIGHTS, read_manifest
from neurozoo.runs.run import Run
from neurozoo.runs.table import RunRow, RunsTable, read_row, runs_below

__all__ = ["Criteria", "Kept", "Pruned", "Removal", "age", "plan_prune", "prune"]

OWN = frozenset({
    "run.json", "recipe.yaml", "environment.json", "data.json", "metrics.jsonl", "summary.json", "evaluations.jsonl",
    "operations.json", "latency.json", "report.html", "checkpoints", "predictions", "loggers",
})  # fmt: skip
"""What neurozoo writes into a run folder; one that holds anything else is not deleted."""
_TENSORS = ("checkpoints", "predictions")
"""Of these the folders that hold nothing but tensors."""
_OWN_PREFIXES = ("events.out.tfevents.",)
_FINISHED_NEEDS_NOT = ("last.safetensors", "state.safetensors")
"""Checkpoints that only a training reads which continues."""
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True)
class Criteria:
    """Which runs are pruned: those that meet every criterion that is set; at least one must be.

    Attributes:
        older_than: Those of which no file changed for so long.
        interrupted: Those that are not finished, and in which nobody trains.
        keep_best: Finished ones that are not among the best this many on their data.
        by: The metric of ``keep_best``, on valid if no split is named; by default the task's main one.
        checkpoints: Delete only the checkpoints of finished runs that nothing reads, and not the runs.
        studies: Whether runs of studies are deleted too.
    """

    older_than: timedelta | None = None
    interrupted: bool = False
    keep_best: int | None = None
    by: str | None = None
    checkpoints: bool = False
    studies: bool = False

    def check(self) -> None:
        """Refuse criteria that select everything, or that contradict each other.

        Raises:
            UserError: They do.
        """
        if self.older_than is None and self.keep_best is None and not self.interrupted and not self.checkpoints:
            raise UserError(
                "nothing says which runs to delete; give --older-than 30d, --interrupted, --keep-best N or "
                "--checkpoints"
            )
        if self.older_than is not None and self.older_than <= timedelta():
            raise UserError("--older-than 0 selects every run; give an age above 0, such as 12h, 30d or 2w")
        if self.interrupted and (self.checkpoints or self.keep_best is not None):
            other = "--checkpoints" if self.checkpoints else "--keep-best"
            raise UserError(f"--interrupted is for runs that are not finished, and {other} for finished ones; give one")
        if self.by is not None and self.keep_best is None:
            raise UserError(f"--by {self.by} is the metric of --keep-best N; give that too")
        if self.keep_best is not None and self.keep_best < 1:
            raise UserError(f"--keep-best {self.keep_best}: give 1 or more")


@dataclass(frozen=True)
class Removal:
    """Files that are to be deleted.

    Attributes:
        run: The run, as the table calls it.
        folder: Where it is.
        files: Of these alone, below the folder; empty for the whole run.
        bytes: Of what is deleted.
        reason: Which criterion it meets.
        notes: What else has to do with the run: its study, runs that began with its weights, packed copies.
        changed: When a file of the run last changed, as the plan saw it.
    """

    run: str
    folder: Path
    files: tuple[str, ...]
    bytes: int
    reason: str
    notes: tuple[str, ...]
    changed: str


@dataclass(frozen=True)
class Kept:
    """A run that stays although it meets the criteria, with the reason."""

    run: str
    reason: str


@dataclass(frozen=True)
class Pruned:
    """What is deleted, or would be.

    Attributes:
        folder: Where the runs are.
        removals: In the order of the table.
        kept: Runs that meet the criteria, and stay.
        done: Whether the removals have been made.
    """

    folder: str
    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]
    done: bool = False

    @property
    def bytes(self) -> int:
        """Of all that is deleted."""
        return sum(each.bytes for each in self.removals)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        removals = [
            {**vars(each), "folder": str(each.folder), "files": list(each.files), "notes": list(each.notes)}
            for each in self.removals
        ]
        kept = [vars(each) for each in self.kept]
        return {"folder": self.folder, "done": self.done, "bytes": self.bytes, "removals": removals, "kept": kept}


def age(text: str) -> timedelta:
    """Parse an age: a number of hours, days or weeks, such as ``12h``, ``30d``, ``2w``.

    Raises:
        UserError: It is none, or longer than a thousand years.
    """
    if not (found := re.fullmatch(r"(\d{1,7}(?:\.\d{1,3})?)([hdw])", text.strip())):
        raise UserError(f"{text!r} is not an age; give hours, days or weeks, such as 12h, 30d or 2w")
    return float(found[1]) * _UNITS[found[2]]


def plan_prune(runs: str | Path | RunsTable, criteria: Criteria) -> Pruned:
    """Return what :func:`prune` would delete; nothing is changed.

    Never deleted are runs in which a process trains, damaged ones, folders that are no runs or hold other files too,
    whatever lies behind a link, and, unless asked for, runs of a study.

    Args:
        runs: A folder that holds runs, at any depth, or its table.
        criteria: Which.

    Raises:
        RunError: There is no such folder.
        UserError: The criteria are empty or contradict each other, or no run has the metric.
    """
    criteria.check()
    table = runs if isinstance(runs, RunsTable) else runs_below(runs)
    selected = dict(_selected(table, criteria))
    removals: list[Removal] = []
    kept: list[Kept] = []
    references = _References(table)
    for row in table.rows:
        name = row.values["run"]
        if row.folder not in selected:
            continue
        if reason := _untouchable(row, criteria):
            kept.append(Kept(name, reason))
            continue
        files = _spare_checkpoints(row.folder) if criteria.checkpoints else {}
        if criteria.checkpoints and not files:
            continue
        size = sum(files.values()) if criteria.checkpoints else row.values["bytes"]
        notes = () if criteria.checkpoints else tuple(references.of(row))
        removals.append(
            Removal(name, row.folder, tuple(files), size, selected[row.folder], notes, row.values["changed"])
        )
    return Pruned(str(table.folder), tuple(removals), tuple(kept))


def prune(plan: Pruned, *, on_progress: Callable[[str, int, int], None] | None = None) -> Pruned:
    """Delete what a plan names, each run under its lock, unless it changed since it was planned.

    A run is renamed to a hidden name before its files are deleted, so that nobody finds half of it.

    Args:
        plan: Of :func:`plan_prune`.
        on_progress: Called after each run with its name, how many are done and of how many.

    Returns:
        What was deleted, and what was kept with the reason.
    """
    removed: list[Removal] = []
    kept = list(plan.kept)
    for done, each in enumerate(plan.removals, start=1):
        try:
            _remove(each, Path(plan.folder))
            removed.append(each)
        except BlockingIOError:
            kept.append(Kept(each.run, "another process is training in it"))
        except (NeurozooError, OSError) as error:
            kept.append(Kept(each.run, str(getattr(error, "strerror", None) or error)))
        if on_progress is not None:
            on_progress(each.run, done, len(plan.removals))
    return replace(plan, removals=tuple(removed), kept=tuple(kept), done=True)


def _selected(table: RunsTable, criteria: Criteria) -> Iterator[tuple[Path, str]]:
    """Yield the runs that meet the criteria, each with which."""
    best = _best(table, criteria)
    now = datetime.now(UTC)
    for row in table.rows:
        status, reasons = row.values["status"], []
        if criteria.older_than is not None:
            old = now - datetime.fromisoformat(row.values["changed"])
            if old < criteria.older_than:
                continue
            reasons.append(f"unchanged for {_days(old)}")
        if criteria.interrupted:
            if status == "finished":
                continue
            reasons.append(f"{status} after {row.values.get('epochs', 0)} epochs")
        if criteria.checkpoints:
            if status != "finished":
                continue
            reasons.append("finished, so that nothing continues from its last checkpoint")
        if criteria.keep_best is not None:
            if row.folder not in best or best[row.folder][0] <= criteria.keep_best:
                continue
            rank, of, key = best[row.folder]
            reasons.append(f"number {rank} of {of} by {key}")
        yield row.folder, "; ".join(reasons)


def _best(table: RunsTable, criteria: Criteria) -> dict[Path, tuple[int, int, str]]:
    """Return of each finished run with a score its rank from 1 among those on its data, of how many, and the metric."""
    if criteria.keep_best is None:
        return {}
    groups: dict[tuple[Any, ...], list[RunRow]] = {}
    for row in table.rows:
        if row.values["status"] == "finished":
            groups.setdefault((row.values.get("data_checksum"), row.values.get("task")), []).append(row)
    ranks: dict[Path, tuple[int, int, str]] = {}
    for rows in groups.values():
        name = criteria.by or next((row.values["score"] for row in rows if "score" in row.values), None)
        if name is None:
            continue
        key = table.column(name)  # refused if no run at all has it; those on some data may lack it
        if table.better(key) is None:
            raise UserError(f"--by {name} is no metric, so that none of its values is the best; give one, such as map")
        scored = [row for row in rows if row.values.get(key) is not None]
        ordered = RunsTable(table.folder, scored).sorted_by(key).rows if scored else ()
        ranks |= {row.folder: (place, len(scored), key) for place, row in enumerate(ordered, start=1)}
    return ranks


def _untouchable(row: RunRow, criteria: Criteria) -> str:
    """Return why a run is not deleted whatever the criteria say; empty if it may be."""
    status = row.values["status"]
    if status == "running":
        return "a process is training in it"
    if status == "unfinished":
        return "this file system has no locks, so that a process may be training in it"
    if status == "damaged":
        return f"it cannot be read, so that it may be no run ({row.values['problem']})"
    if criteria.checkpoints:
        return ""
    if row.study is not None and not criteria.studies:
        return f"a run of the study {row.study}; --studies deletes these too"
    return _foreign(row.folder)


def _foreign(folder: Path) -> str:
    """Return that a run folder holds what is not neurozoo's, and what; empty if it does not."""
    others = sorted(_others(folder))
    if not others:
        return ""
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"it holds what no training writes: {', '.join(others[:3])}{more}; move that first"


def _others(folder: Path) -> Iterator[str]:
    """Yield what a run folder holds that is not neurozoo's, and links in the place of what is."""
    for entry in os.scandir(folder):
        if entry.name in OWN or entry.name.startswith(_OWN_PREFIXES):
            if entry.is_symlink():
                yield f"{entry.name} (a link)"
            elif entry.name in _TENSORS:
                names = os.listdir(entry.path) if entry.is_dir() else []
                yield from (f"{entry.name}/{name}" for name in names if not _is_expected(name, ".safetensors"))
        elif not _is_expected(entry.name):
            yield entry.name


def _is_expected(name: str, ending: str | None = None) -> bool:
    """Whether a file may be deleted with its run: by its ending, or as what systems and killed processes leave."""
    left = is_litter(name) or (name.startswith(".") and name.endswith(".partial"))
    return left or (ending is not None and name.endswith(ending))


def _spare_checkpoints(folder: Path) -> dict[str, int]:
    """Return the checkpoints that a finished run does not need, with their bytes; none if its best one is missing."""
    found, checkpoints = {}, folder / "checkpoints"
    with suppress(OSError, ValueError), opened_folder(checkpoints / "best.safetensors", folder) as (at, best):
        os.stat(best, dir_fd=at, follow_symlinks=False)
        for name in _FINISHED_NEEDS_NOT:
            with suppress(OSError):
                path = checkpoints / name if at is None else name
                found[f"checkpoints/{name}"] = os.stat(path, dir_fd=at, follow_symlinks=False).st_size
    return found


def _remove(removal: Removal, root: Path) -> None:
    """Delete what a removal names, if the run is still what it was."""
    folder = removal.folder
    if folder.is_symlink():
        raise RunError("a link has taken its place")
    lock = lock_folder(folder, wait=False)
    try:
        now = read_row(folder, root)
        # The process holds the lock itself, so that an unfinished run looks as if somebody trained in it.
        if now.values["changed"] != removal.changed or now.values["status"] == "damaged":
            raise RunError("it changed since it was chosen; ask again")
        if removal.files:
            if now.values["status"] != "finished":
                raise RunError("it is not finished")
            for name in removal.files:
                with opened_folder(folder / name, folder) as (at, entry):
                    os.unlink(entry, dir_fd=at)
            return
        if problem := _foreign(folder):  # copied there since, with the times that they had
            raise RunError(problem)
        hidden = folder.with_name(partial_name(folder.name))
        os.rename(folder, hidden)
        if lock is not None and os.fstat(lock).st_ino != os.lstat(hidden).st_ino:
            os.rename(hidden, folder)
            raise RunError("another folder has taken its place")
        try:
            shutil.rmtree(hidden)  # removes links, and follows none
        except OSError as error:
            raise RunError(f"{error.strerror or error}; what is left of it is in {hidden}") from error
    finally:
        unlock_folder(lock)


class _References:
    """What refers to a run: its study, runs that began with its weights, packed models that are copies of them."""

    def __init__(self, table: RunsTable) -> None:
        self._by_weights: dict[str, list[str]] = {}
        for row in table.rows:
            with suppress(NeurozooError):
                started: Mapping[str, Any] = Run(row.folder).read_json_if_there("summary.json").get("started_from", {})
                self._note(started.get("sha256"), f"the run {row.values['run']} began with its weights")
        for packed in _packed_folders(table.folder):
            with suppress(NeurozooError):
                self._note(read_manifest(packed).files[WEIGHTS], f"packed in {packed}, which stays")

    def _note(self, sha256: object, text: str) -> None:
        if isinstance(sha256, str):
            self._by_weights.setdefault(sha256, []).append(text)

    def of(self, row: RunRow) -> Iterator[str]:
        """Yield each reference to a run, in words."""
        if row.study is not None:
            yield f"a run of the study {row.study}"
        if self._by_weights:
            with suppress(NeurozooError):
                weights = Run(row.folder).best
                yield from self._by_weights.get(sha256_of(weights, inside=row.folder, error=RunError), ())


def _packed_folders(root: Path) -> Iterator[Path]:
    for top in dict.fromkeys((root, Path("packed"))):
        for path, below, files in os.walk(top):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if MANIFEST in files:
                yield Path(path)


def _days(age: timedelta) -> str:
    hours = age / timedelta(hours=1)
    number, unit = (hours / 24, "day") if hours >= 48 else (hours, "hour")
    return f"{number:.0f} {unit}{'' if f'{number:.0f}' == '1' else 's'}"
