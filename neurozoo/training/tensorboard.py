"""Event files for TensorBoard next to metrics.jsonl; the package is the extra ``tensorboard``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.training.loggers import Logger

__all__ = ["TensorBoardLogger"]

_FILES = "events.out.tfevents.*"


class TensorBoardLogger(Logger):
    """Writes each epoch's numbers, the recipe and the final metrics; show them with ``tensorboard --logdir runs``.

    A resumed training writes one new file that begins with the earlier epochs, and removes the old ones, so that each
    epoch is there once.
    """

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        old = list(self.folder.glob(_FILES))
        # If the process ends before the old files are removed, TensorBoard prefers the new one's epochs.
        self._writer = SummaryWriter(str(self.folder), purge_step=0 if old else None)
        settings = json.dumps(info["settings"], indent=2)
        self._writer.add_text("recipe", "    " + settings.replace("\n", "\n    "))
        if info.get("synthetic"):
            self._writer.add_text("data", SYNTHETIC_NOTICE)
        for record in past:
            self._numbers(record, record["epoch"])
        self._writer.flush()
        for path in old:
            path.unlink(missing_ok=True)

    def epoch(self, record: Mapping[str, Any]) -> None:
        self._numbers(record, record["epoch"])
        self._writer.flush()

    def finished(self, summary: Mapping[str, Any]) -> None:
        self._numbers(self.final_record(summary), summary["best_epoch"])
        for warning in summary["warnings"]:
            self._writer.add_text("warnings", warning)

    def close(self) -> None:
        self._writer.close()

    def _numbers(self, record: Mapping[str, Any], step: int) -> None:
        for name, value in self.numbers(record).items():
            if name != "epoch":
                self._writer.add_scalar(name, value, step)
