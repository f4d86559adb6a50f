"""Which colour is which run."""

from __future__ import annotations

from collections.abc import Sequence

from neurozoo.reporting.figures import COLOURS
from neurozoo.reporting.runs.run_contents import ReportedRun

__all__ = ["key"]


def key(runs: Sequence[ReportedRun]) -> list[tuple[str, str]]:
    """The colour and the name of each run."""
    return [(COLOURS[run.place % len(COLOURS)], run.name) for run in runs]
