"""The folder that holds all of one training, trained models, and the device and threads of a process.

The package can be called: ``neurozoo.runs("runs")`` is :func:`neurozoo.runs.table.runs_below`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neurozoo.runs.table import RunsTable


class _Runs(ModuleType):
    """A package of this name and a public function of the same one, which neither may hide."""

    def __call__(self, folder: str | Path = "runs") -> RunsTable:
        from neurozoo.runs.table import runs_below

        return runs_below(folder)


sys.modules[__name__].__class__ = _Runs
