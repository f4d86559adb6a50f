"""A training's run folder: made or reopened, held, and written as the training goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from neurozoo.errors import CheckpointError, RunError
from neurozoo.evaluation.evaluate import Evaluation
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.run import Run
from neurozoo.training.listener import Checkpoint, Listener, Saved

__all__ = ["RunFolder"]


class RunFolder(Listener):
    """Keeps a run's records, checkpoints, predictions and summary; no other process trains in the folder meanwhile.

    After a crash, whatever was written after the last state is written again, and the same; so the state comes last.

    Args:
        run: The folder.
        holds: Whether this process holds and writes it. Of several that train together the first one does; for the
            others every event is a no-op.

    Attributes:
        run: The folder.
        saved_state: What training continues from; None at a beginning.

    Raises:
        RunError: Another process trains in it.
    """

    def __init__(self, run: Run, *, holds: bool = True) -> None:
        self.run = run
        self.saved_state: Saved | None = None
        self._writes, self._held = holds, ExitStack()
        if holds:
            self._held.enter_context(run.held())

    @classmethod
    def begin(cls, folder: Path, recipe: Recipe, *, closed: Collection[str] = (), first: bool = True) -> RunFolder:
        """Make a new run folder.

        Args:
            folder: Missing or empty.
            recipe: What it is made with.
            closed: Splits that neither it nor whoever continues with it may open.
            first: Whether this process makes it, or finds it made by the first one.

        Raises:
            RunError: The folder exists and is not empty, or cannot be written.
        """
        return cls(Run.create(folder, recipe, closed=closed) if first else Run(folder), holds=first)

    @classmethod
    def reopen(cls, folder: Path, *, first: bool = True) -> RunFolder:
        """Open a run that did not come to its end.

        Raises:
            RunError: It is no run, is finished, or another process is at it.
            CheckpointError: Its state is damaged, or of another recipe.
        """
        found = cls(Run(folder), holds=first)
        try:
            found._check_and_read()
        except BaseException:
            found.close()
            raise
        return found

    def _check_and_read(self) -> None:
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
            if not run.recipe().is_of(metadata.get("recipe_digest")):
                raise CheckpointError(
                    f"{run.state}: is of another recipe than {run.recipe_path}; put the old one back, or begin a new "
                    "run"
                )
            if not isinstance(metadata.get("position"), dict):
                # Told before the records behind its position are cut off.
                raise CheckpointError(f"{run.state}: not the state of a training (it has no position); start a new run")
            self.saved_state = Saved(tensors, metadata)
            records = int(metadata["position"].get("records", 0))
        if self._writes:
            run.keep_records(records)

    def noted(self, name: str) -> Mapping[str, Any]:
        """One of the files that it began with, such as ``data.json``; empty where it did not get that far."""
        return self.run.read_json(name) if (self.run.folder / name).is_file() else {}

    def discard_if_empty(self) -> None:
        """Remove a folder that holds nothing yet and would be in the way of the next try."""
        if self._writes and not self.run.last.is_file() and not self.run.state.is_file():
            self.run.discard()

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
            self.run.append(record)
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
        self._held.close()
