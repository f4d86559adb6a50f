"""The logger ``epochs``: the weights of every epoch, to choose among them after the training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurozoo.errors import RunError
from neurozoo.files.opening import read_bytes
from neurozoo.files.writing import write_whole
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.training.loggers import Logger

__all__ = ["EpochsLogger", "kept_epochs"]

_FOLDER = Path("loggers") / "epochs"
_LARGEST = 2**34
"""Largest size of a checkpoint in bytes."""


class EpochsLogger(Logger):
    """Copies the weights after each epoch to ``loggers/epochs/NUMBER.safetensors`` in the run folder."""

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        """Copy the last epoch of an interrupted training, which may have ended before it was copied."""
        self.own_folder()
        last = Run(self.folder).last
        if past and last.is_file():
            self._keep(int(read_tensors(last, inside=self.folder)[1]["epoch"]))

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Copy the weights, which the run folder has written by now."""
        self._keep(int(record["epoch"]))

    def _keep(self, epoch: int) -> None:
        content = read_bytes(Run(self.folder).last, limit=_LARGEST, inside=self.folder, error=RunError)
        write_whole(self.folder / _FOLDER / f"{epoch}.safetensors", content, inside=self.folder)


def kept_epochs(run: Path) -> dict[int, Path]:
    """Return the file of each epoch that a run kept, in order."""
    found = {int(path.stem): path for path in (run / _FOLDER).glob("*.safetensors") if re.fullmatch(r"\d+", path.stem)}
    return dict(sorted(found.items()))
