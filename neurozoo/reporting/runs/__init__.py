"""A report of runs: one page in one file, with everything that their folders hold."""

from neurozoo.reporting.runs.run_report import LARGEST, RunReport, report_runs

__all__ = ["LARGEST", "RunReport", "report_runs"]
