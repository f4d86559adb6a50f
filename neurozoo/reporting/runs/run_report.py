"""Runs as one page: everything that their folders hold, side by side."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.compare.runs import check_same_data
from neurozoo.core.task import Task
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import NeurozooError, UserError
from neurozoo.operations.result import OperationsProfile
from neurozoo.reporting.page import Content, html_page
from neurozoo.reporting.runs import curves, rasters, summary_tables
from neurozoo.reporting.runs.observations import Looked, Told, look
from neurozoo.reporting.runs.run_contents import ReportedRun, read_runs

__all__ = ["LARGEST", "RunReport", "report_runs"]

LARGEST = 1_000_000
"""Bytes that a page stays below."""

Section = Callable[[Sequence[ReportedRun], str], tuple[Sequence[Content], Mapping[str, Any]]]
"""What :attr:`neurozoo.core.task.Task.section` names: of the runs of a task and a split, what is to be drawn, and the
numbers in it for programs."""

_SAMPLES = {1: 3, 2: 2}
"""How many samples show their spikes, by the number of runs; else one."""
_MOST_SAMPLES = 12


@dataclass(frozen=True)
class RunReport:
    """A report.

    Attributes:
        page: HTML, in one file.
        facts: What was computed for it, in plain values, for programs.
    """

    page: str
    facts: dict[str, Any]


def report_runs(
    folders: Sequence[Path],
    *,
    split: str | None = None,
    wanted: Sequence[str] = (),
    mixed: bool = False,
    data_root: str | None = None,
    told: Told = lambda what, done, of: None,
) -> RunReport:
    """Runs, finished or not, as one page with pictures that loads nothing.

    Args:
        folders: Run folders, at most six.
        split: Whose predictions are drawn; by default ``test``, and ``valid`` where no run has predicted that.
        wanted: Samples of valid whose spikes are drawn; by default the first.
        mixed: Whether runs on different data, or on made-up and real data, may stand side by side.
        data_root: A store, where it is not where the recipes say.
        told: Gets the progress.

    Raises:
        UserError: A folder is no run, there is no such sample, or matplotlib is not installed.
        DataError: The runs were made with different data, and ``mixed`` is not set.
    """
    if len(wanted) > _MOST_SAMPLES:
        raise UserError(f"{len(wanted)} samples are named, and a page has room for {_MOST_SAMPLES}; name fewer")
    runs = read_runs(folders)
    if not mixed:
        check_same_data([run for run in runs if run.checksum])
    predicted = split or ("test" if any("test" in run.predictions for run in runs) else "valid")
    looked, why = _look(runs, wanted, data_root, told)
    profiles, uncounted = _profiles(runs, data_root, told)
    numbers: dict[str, Any] = {}

    def by_task() -> Sequence[Content]:
        content: list[Content] = []
        for task in _tasks(runs):
            of_it = [run for run in runs if run.task is not None and run.task.name == task.name]
            drawn, found = _section_of(task)(of_it, predicted)
            content += drawn
            numbers.update(found)
        return content

    sections: list[Callable[[], Sequence[Content]]] = [
        lambda: summary_tables.overview(runs),
        lambda: summary_tables.warnings(runs),
        lambda: summary_tables.metrics(runs),
        lambda: curves.training_curves(runs),
        by_task,
        lambda: curves.thresholds(runs),
        lambda: curves.health(runs),
        lambda: curves.lesions(runs),
        lambda: summary_tables.operations(runs, profiles, uncounted),
        lambda: curves.sparsity(runs),
        lambda: rasters.rasters(runs, looked, why),
        lambda: rasters.attention(runs, looked, why),
        lambda: summary_tables.recipes(runs),
        lambda: summary_tables.environment(runs),
    ]
    content: list[Content] = []
    for number, section in enumerate(sections, 1):
        told("drawing", number, len(sections))
        content += section()
    synthetic = [run.name for run in runs if run.synthetic]
    warning = SYNTHETIC_NOTICE if synthetic else ""
    if synthetic and len(synthetic) < len(runs):
        warning = f"{SYNTHETIC_NOTICE} ({', '.join(synthetic)})"
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    page = html_page(title, content, lead=_lead(runs), warning=warning)
    facts = {**_facts(runs, predicted, looked, why), **numbers}
    return RunReport(page, {**facts, "operations": summary_tables.operations_facts(profiles), "not_counted": uncounted})


def _tasks(runs: Sequence[ReportedRun]) -> list[Task]:
    """The tasks that draw a section of their own, one of each name."""
    found = {run.task.name: run.task for run in reversed(runs) if run.task is not None and run.task.section}
    return list(reversed(found.values()))


def _section_of(task: Task) -> Section:
    """The function that a task names to draw its section."""
    module, _, function = task.section.partition(":")
    section: Section = getattr(importlib.import_module(module), function)
    return section


def _look(
    runs: Sequence[ReportedRun], wanted: Sequence[str], data_root: str | None, told: Told
) -> tuple[dict[str, Looked], dict[str, str]]:
    """What the models did, by run; and why one was not looked at."""
    looked: dict[str, Looked] = {}
    why: dict[str, str] = {}
    for number, run in enumerate(runs, 1):
        told("running the models", number, len(runs))
        try:
            looked[run.name] = look(run, wanted, _SAMPLES.get(len(runs), 1), data_root=data_root, told=told)
        except NeurozooError as error:
            if wanted and type(error) is UserError:
                raise
            why[run.name] = str(error).rstrip(".").replace("\n", "; ")
    return looked, why


def _profiles(
    runs: Sequence[ReportedRun], data_root: str | None, told: Told
) -> tuple[dict[str, OperationsProfile], dict[str, str]]:
    """What the models compute, by run; and why one was not counted."""
    found: dict[str, OperationsProfile] = {}
    why: dict[str, str] = {}
    for run in runs:
        try:
            found[run.name] = summary_tables.profiled(run, data_root=data_root, told=told)
        except NeurozooError as error:
            why[run.name] = str(error).rstrip(".").replace("\n", "; ")
    return found, why


def _lead(runs: Sequence[ReportedRun]) -> str:
    unfinished = [run.name for run in runs if not run.summary]
    lead = runs[0].content["description"] if len({run.content["description"] for run in runs}) == 1 else ""
    if unfinished:
        lead += f"{'. ' if lead else ''}Not finished, so that this is what there is by now: {', '.join(unfinished)}."
    return lead


def _facts(
    runs: Sequence[ReportedRun],
    split: str,
    looked: dict[str, Looked],
    why: dict[str, str],
) -> dict[str, Any]:
    return {
        "runs": [
            {
                "run": run.run,
                "name": run.name,
                "finished": bool(run.summary),
                "epochs": len(run.records),
                "synthetic": run.synthetic,
            }
            for run in runs
        ],
        "split": split,
        "attention": {
            name: {"by_modality": found.attention.weights, "rows": found.attention.shares}
            for name, found in looked.items()
            if found.attention is not None
        },
        "not_looked_at": why,
    }
