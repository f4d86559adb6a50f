"""A training's run folder: made or reopened, locked, and written as the training proceeds."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from neurozoo.errors import CheckpointError, RunError
from neurozoo.evaluation.evaluate import Evaluation
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.json_files import append_json, write_json
from neurozoo.runs.run import SCHEMA, Run, check_free
from neurozoo.training.listener import Checkpoint, Listener, Saved

__all__ = ["RunFolder"]


class RunFolder(Listener):
    """Writes a run's records, checkpoints, predictions and summary, and keeps other processes from training in it.

    After a crash, whatever was written after the last state is written again with the same content; therefore the
    state comes last.

    Args:
        run: The run.
        first: Whether this is the first of the processes that train together. It alone locks and writes the folder.

    Attributes:
        run: The run.
        saved_state: What training continues from; None for a new run.

    Raises:
        RunError: Another process is training in it.
    """

    def __init__(self, run: Run, *, first: bool = True) -> None:
        self.run = run
        self.saved_state: Saved | None = None
        self._writes, self._lock = first, ExitStack()
        if first:
            self._lock.enter_context(run.held())

    @classmethod
    def begin(cls, folder: Path, recipe: Recipe, *, closed: Collection[str] = (), first: bool = True) -> RunFolder:
        """Make a new run folder, or open the one that the first process made.

        Args:
            folder: Missing or empty.
            recipe: The run's recipe.
            closed: Splits that neither this training nor one that resumes it may open.
            first: Whether this is the first process.

        Raises:
            RunError: The folder exists and is not empty, or cannot be written.
        """
        if first:
            check_free(folder)
            try:
                new = PartialFolder(folder)
                try:
                    (new.path / "checkpoints").mkdir()
                    about = {"schema": SCHEMA, "recipe": recipe.name, "closed": sorted(closed)}
                    write_json(new.path / "run.json", about)
                    write_whole(new.path / "recipe.yaml", recipe.to_yaml().encode())
                    new.finish()
                finally:
                    new.close()
            except OSError as error:
                raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
        return cls(Run(folder), first=first)

    @classmethod
    def reopen(cls, run: Run, recipe: Recipe, *, first: bool = True) -> RunFolder:
        """Reopen an unfinished run of this recipe and drop the records that follow its last state.

        Raises:
            RunError: It is finished, lacks records, or another process is training in it.
            CheckpointError: Its state is damaged, or of another recipe.
        """
        folder = cls(run, first=first)
        try:
            folder._read_state(recipe)
        except BaseException:
            folder.close()
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
            tensors, metadata = read_tensors(run.state, remedy=remedy)
            if not recipe.is_of(metadata.get("recipe_digest")):
                raise CheckpointError(
                    f"{run.state}: is of another recipe than {run.recipe_path}; put the old one back, or begin a new "
                    "run"
                )
            if not isinstance(metadata.get("position"), dict):
                # Checked before the records behind its position are dropped.
                raise CheckpointError(f"{run.state}: not the state of a training (it has no position); start a new run")
            self.saved_state = Saved(tensors, metadata)
            records = int(metadata["position"].get("records", 0))
        if self._writes:
            self._keep_records(records)

    def _keep_records(self, count: int) -> None:
        path = self.run.records_path
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
            if len(lines) < count:
                raise RunError(
                    f"{path}: has {len(lines)} lines of the {count} that were written; the run cannot be resumed"
                )
            if len(lines) > count:
                write_whole(path, b"".join(lines[:count]))
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error

    def discard(self, *, unless_trained: bool = False) -> None:
        """Remove the folder; with ``unless_trained`` only if it holds no weights and no state yet."""
        trained = self.run.last.is_file() or self.run.state.is_file()
        if self._writes and not (unless_trained and trained):
            shutil.rmtree(self.run.folder, ignore_errors=True)

    def started(self, info: Mapping[str, Any]) -> None:
        if self._writes:
            self.run.write_json("data.json", info["data"])
            self.run.write_json("environment.json", info["environment"])

    def saved(self, saved: Saved) -> None:
        if self._writes:
            write_tensors(self.run.state, saved.tensors, saved.metadata)

    def epoch(self, record: Mapping[str, Any], checkpoint: Checkpoint) -> None:
        if self._writes:
            self.keep(checkpoint)
            append_json(self.run.records_path, record)
            self.saved(checkpoint.saved)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write weights as the last ones, and as the best ones if they are."""
        for path in ([self.run.best] if checkpoint.best else []) + [self.run.last]:
            write_tensors(path, checkpoint.weights, checkpoint.metadata)

    def finished(self, summary: Mapping[str, Any], evaluation: Evaluation) -> None:
        if self._writes:
            evaluation.write_predictions(self.run.folder / "predictions")
            self.run.write_json("summary.json", summary)
            # Nothing continues from it, and it is the largest file.
            self.run.state.unlink(missing_ok=True)

    def close(self) -> None:
        self._lock.close()
