"""The logger ``report``: a run's page with pictures, written when its training is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neurozoo.files.writing import write_whole
from neurozoo.reporting.runs.run_contents import REPORT
from neurozoo.reporting.runs.run_report import report_runs
from neurozoo.training.loggers import Logger

__all__ = ["ReportLogger"]


class ReportLogger(Logger):
    """Writes ``report.html`` into the run folder, as ``neurozoo report RUN`` does; needs matplotlib."""

    def started(self, info: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> None:
        """Nothing is drawn before the end."""

    def epoch(self, record: Mapping[str, Any]) -> None:
        """The run folder keeps the record."""

    def finished(self, summary: Mapping[str, Any]) -> None:
        """Draw the run, whose folder is complete by now."""
        write_whole(self.folder / REPORT, report_runs([self.folder]).page.encode(), inside=self.folder)
