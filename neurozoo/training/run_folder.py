"""A training's run folder: made or reopened, locked, and written as the training proceeds."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from neurozoo.errors import CheckpointError, RunError
from neurozoo.evaluation.evaluate import Evaluation
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.opening import read_bytes
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.text import is_litter
from neurozoo.files.writing import write_whole
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.json_files import append_json, write_json
from neurozoo.runs.run import SCHEMA, Run
from neurozoo.training.listener import Checkpoint, Listener, Saved

__all__ = ["RunFolder", "numbered"]

_TAKEN = (FileExistsError, BlockingIOError, NotADirectoryError)


class RunFolder(Listener):
    """Writes a run's records, checkpoints, predictions and summary, and keeps other processes from training in it.

    The folder is locked from before it has its name until :meth:`release`, and removed by nobody else. After a crash,
    whatever was written after the last state is written again with the same content; therefore the state comes last,
    when all before it is on the disk. No link in the folder is followed, as a run that is resumed may be a stranger's.

    Args:
        run: The run.
        first: Whether this is the first of the processes that train together. It alone locks and writes the folder.
        lock: The lock of the folder, as :func:`neurozoo.files.locks.lock_folder` returns it.
        made: The topmost folder that this training made; None if the run's folder was there, empty or not.

    Attributes:
        run: The run.
        saved_state: What training continues from; None for a new run.
    """

    def __init__(self, run: Run, *, first: bool, lock: int | None = None, made: Path | None = None) -> None:
        self.run = run
        self.saved_state: Saved | None = None
        self._writes, self._lock, self._made = first, lock, made

    @classmethod
    def begin(
        cls,
        folder: Path,
        recipe: Recipe,
        *,
        closed: Collection[str] = (),
        first: bool = True,
        or_next: bool = False,
    ) -> RunFolder:
        """Make a new run folder, or open the one that the first process made.

        Args:
            folder: Missing or empty.
            recipe: The run's recipe.
            closed: Splits that neither this training nor one that resumes it may open.
            first: Whether this is the first process.
            or_next: Whether to append a number to the folder's name if it is taken.

        Raises:
            RunError: The folder exists and is not empty, or cannot be written.
        """
        if not first:
            return cls(Run(folder), first=False)
        for name in numbered(folder):
            try:
                made = next((each for each in [*reversed(name.parents), name] if not each.exists()), None)
                lock = _make(name, recipe, closed)
                return cls(Run(name), first=True, lock=lock, made=made)
            except OSError as error:
                taken = isinstance(error, _TAKEN) or error.errno == errno.ENOTEMPTY
                taken = taken and os.path.lexists(name)  # not, if a folder above it is a file
                if taken and or_next:
                    continue
                if taken:
                    raise RunError(
                        f"{name}: already there and not empty; give another --out, or remove it first"
                    ) from error
                raise RunError(f"{name}: cannot be written: {error.strerror or error}; give another --out") from error
            except ValueError as error:  # a null character
                raise RunError(f"{str(name)!r}: cannot be written: {error}; give another --out") from error
        raise AssertionError  # names do not end

    @classmethod
    def reopen(cls, run: Run, recipe: Recipe, *, first: bool = True) -> RunFolder:
        """Reopen an unfinished run of this recipe and drop the records that follow its last state.

        Raises:
            RunError: It is finished, lacks records, or another process is training in it.
            CheckpointError: Its state is damaged, or of another recipe.
        """
        try:
            lock = lock_folder(run.folder, wait=False) if first else None
        except BlockingIOError as error:
            raise RunError(f"{run.folder}: another process is training in it; wait for its end") from error
        except OSError as error:
            raise RunError(f"{run.folder}: cannot be locked: {error.strerror or error}") from error
        folder = cls(run, first=first, lock=lock)
        try:
            folder._read_state(recipe)
        except BaseException:
            folder.release()
            raise
        return folder

    def _read_state(self, recipe: Recipe) -> None:
        run = self.run
        if run.finished:
            raise RunError(f"{run.folder}: is finished; to train longer, begin a new run with more training.epochs")
        records = 0
        if run.state.is_file():
            remedy = (
                "nothing can continue from it: train again with another --out. The best weights so far are in "
                f"{run.best}"
            )
            tensors, metadata = read_tensors(run.state, inside=run.folder, remedy=remedy)
            if not recipe.is_of(metadata.get("recipe_digest")):
                raise CheckpointError(
                    f"{run.state}: is of another recipe than {run.recipe_path}; put the old one back, or begin a new "
                    "run"
                )
            position = metadata.get("position")
            records = position.get("records", 0) if isinstance(position, dict) else -1
            if not isinstance(records, int) or records < 0:
                # Checked before the records behind its position are dropped.
                raise CheckpointError(f"{run.state}: not the state of a training (it has no position); start a new run")
            self.saved_state = Saved(tensors, metadata)
        if self._writes:
            self._keep_records(records)

    def _keep_records(self, count: int) -> None:
        path, folder = self.run.records_path, self.run.folder
        raw = read_bytes(path, inside=folder, error=RunError) if self.run.has(path.name) else b""
        lines = raw.splitlines(keepends=True)
        if len(lines) < count:
            raise RunError(
                f"{path}: has {len(lines)} lines of the {count} that were written; the run cannot be resumed"
            )
        if len(lines) > count:
            try:
                write_whole(path, b"".join(lines[:count]), inside=folder)
            except OSError as error:
                raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error

    @property
    def resumable(self) -> bool:
        """Whether this process trains in the folder, and the training is not finished."""
        return self._writes and self.run.has("recipe.yaml") and not self.run.finished

    def discard(self, *, unless_trained: bool = False) -> None:
        """Remove what this training made; with ``unless_trained`` only if it holds no weights and no state yet."""
        trained = self.run.last.is_file() or self.run.state.is_file()
        if not self._writes or (unless_trained and trained):
            return
        folder = self.run.folder
        if self._made is not None:
            shutil.rmtree(folder, ignore_errors=True)
            for parent in folder.parents:
                if not parent.is_relative_to(self._made):
                    break
                with suppress(OSError):  # another run is in it
                    parent.rmdir()
            return
        for entry in folder.iterdir():  # the folder was there, maybe as a mount point: it is emptied
            if is_litter(entry.name):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def started(self, info: Mapping[str, Any]) -> None:
        if self._writes:
            self.run.write_json("data.json", info["data"])
            self.run.write_json("environment.json", info["environment"])

    def saved(self, saved: Saved) -> None:
        if self._writes:
            write_tensors(self.run.state, saved.tensors, saved.metadata, inside=self.run.folder)

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        if self._writes:
            self.keep(checkpoint)
            append_json(self.run.records_path, record, inside=self.run.folder)
            self.saved(checkpoint.saved)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write weights as the last ones, and as the best ones if they are."""
        for path in ([self.run.best] if checkpoint.best else []) + [self.run.last]:
            write_tensors(path, checkpoint.weights, checkpoint.metadata, inside=self.run.folder)

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        if self._writes:
            evaluation.write_predictions(self.run.folder)
            self.run.write_json("summary.json", summary)
            # Nothing continues from it, and it is the largest file.
            self.run.state.unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock, after which nothing may be written or removed."""
        unlock_folder(self._lock)
        self._lock, self._writes = None, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def numbered(folder: Path) -> Iterator[Path]:
    """Yield a folder and, without end, those of its name with the numbers from 2, for one that is not taken."""
    yield folder
    for number in count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _make(folder: Path, recipe: Recipe, closed: Collection[str]) -> int | None:
    """Write the first files of a run; returns the lock of the folder."""
    with PartialFolder(folder, marker="recipe.yaml") as new:
        (new.path / "checkpoints").mkdir()
        about: dict[str, Any] = {"schema": SCHEMA, "recipe": recipe.name, "closed": sorted(closed)}
        if recipe.data.root is not None:  # found from any working folder
            about["data_root"] = str(Path(recipe.data.root).expanduser().resolve())
        write_json(new.path / "run.json", about)
        write_whole(new.path / "recipe.yaml", recipe.to_yaml().encode())
        new.finish()
        return new.take_lock()
