"""Runs as one page: everything that their folders hold, side by side."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.compare.runs import check_same_data
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import NeurozooError, UserError, suggestion
from neurozoo.operations.profiling import Told
from neurozoo.operations.result import OperationsProfile
from neurozoo.reporting.page import Content, html_page
from neurozoo.reporting.runs import curves, observation_sections, summary_tables
from neurozoo.reporting.runs.observations import Looked, look
from neurozoo.reporting.runs.run_contents import ReportedRun, read_runs
from neurozoo.reporting.runs.traces import parse_neurons
from neurozoo.runs.trained_folder import own_description

__all__ = ["LARGEST", "RunReport", "report_runs"]

LARGEST = 1_000_000
"""Bytes that a page stays below."""

Section = Callable[[Sequence[ReportedRun], str], tuple[Sequence[Content], Mapping[str, Any]]]
"""What :attr:`neurozoo.core.task.Task.section` names: takes the runs of a task and a split, and returns what to draw
and the numbers in it for programs."""

_SAMPLES = {1: 3, 2: 2}
"""How many samples show their spikes, by the number of runs; else one."""
_MOST_SAMPLES = 12


@dataclass(frozen=True)
class RunReport:
    """A report: an HTML page in one file, and what was computed for it in plain values, for programs."""

    page: str
    facts: dict[str, Any]


def report_runs(
    folders: Sequence[Path],
    *,
    split: str | None = None,
    wanted: Sequence[str] = (),
    neurons: Sequence[str] = (),
    mixed: bool = False,
    data_root: str | None = None,
    told: Told = lambda what, done, of: None,
) -> RunReport:
    """Draw runs, finished or not, as one self-contained page with pictures.

    Args:
        folders: Run folders, at most six.
        split: Whose predictions are drawn; by default ``test``, and ``valid`` if no run has predicted that.
        wanted: Samples of valid that are drawn with their spikes; by default the first.
        neurons: ``LAYER:3,7``, neurons whose membranes are drawn; by default a few of each layer that fires.
        mixed: Whether runs on different data, or on made-up and real data, may stand side by side.
        data_root: The store, if it is not where the recipes say.
        told: Called with the progress.

    Raises:
        UserError: A folder is no run, there is no such sample or neuron, or matplotlib is not installed.
        DataError: The runs were made with different data, and ``mixed`` is not set.
    """
    if len(wanted) > _MOST_SAMPLES:
        raise UserError(f"{len(wanted)} samples are named, and a page has room for {_MOST_SAMPLES}; name fewer")
    traced = parse_neurons(neurons)
    runs = read_runs(folders)
    if not mixed:
        check_same_data([run for run in runs if run.checksum])
    predicted = split or ("test" if any("test" in run.predictions for run in runs) else "valid")
    looked: dict[str, Looked] = {}
    profiles: dict[str, OperationsProfile] = {}
    not_looked_at: dict[str, str] = {}
    not_counted: dict[str, str] = {}
    for done, run in enumerate(runs, 1):
        told("running the models", done, len(runs))
        with _reason(run, not_looked_at, fatal=UserError if wanted or traced else None):
            looked[run.name] = look(run, wanted, _SAMPLES.get(len(runs), 1), traced, data_root=data_root, told=told)
    _check_layers(traced, looked)
    for run in runs:
        with _reason(run, not_counted):
            profiles[run.name] = summary_tables.profiled(run, data_root=data_root, told=told)
    facts: dict[str, Any] = {
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
        "split": predicted,
        "attention": {
            name: {"by_modality": each.attention.weights, "rows": each.attention.shares}
            for name, each in looked.items()
            if each.attention is not None
        },
        "samples": {name: [answered.facts() for answered in each.samples] for name, each in looked.items()},
        "traces": {name: [trace.facts() for trace in each.traces] for name, each in looked.items()},
        "operations": summary_tables.operations_facts(profiles),
        "not_looked_at": not_looked_at,
        "not_counted": not_counted,
    }

    def by_task() -> list[Content]:
        content: list[Content] = []
        tasks = [run.task for run in runs if run.task is not None and run.task.section]
        for name, section in dict.fromkeys((task.name, task.section) for task in tasks):
            module, _, function = section.partition(":")
            draw: Section = getattr(importlib.import_module(module), function)
            drawn, numbers = draw([run for run in runs if run.task is not None and run.task.name == name], predicted)
            content += drawn
            facts.update(numbers)
        return content

    sections: list[Callable[[], Sequence[Content]]] = [
        lambda: summary_tables.overview(runs),
        lambda: summary_tables.warnings(runs),
        lambda: summary_tables.metrics(runs),
        lambda: curves.training_curves(runs),
        by_task,
        lambda: observation_sections.answers(runs, looked),
        lambda: curves.thresholds(runs),
        lambda: curves.health(runs),
        lambda: curves.lesions(runs),
        lambda: summary_tables.operations(runs, profiles, not_counted),
        lambda: curves.sparsity(runs),
        lambda: observation_sections.membranes(runs, looked),
        lambda: observation_sections.rasters(runs, looked, not_looked_at),
        lambda: observation_sections.attention(runs, looked, not_looked_at),
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
        warning += f" ({', '.join(synthetic)})"
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return RunReport(html_page(title, content, lead=_lead(runs), warning=warning), facts)


def _check_layers(traced: Mapping[str, Sequence[int]], looked: Mapping[str, Looked]) -> None:
    """Raise a :class:`UserError` if neurons are named of a layer that no run has."""
    known = list(dict.fromkeys(name for each in looked.values() for name in each.layers))
    for layer in traced:
        if looked and layer not in known:
            raise UserError(
                f"no layer of neurons is called {layer!r}; there are: {', '.join(known)}{suggestion(layer, known)}"
            )


@contextmanager
def _reason(run: ReportedRun, reasons: dict[str, str], fatal: type[NeurozooError] | None = None) -> Iterator[None]:
    """Note an error as the reason why something of a run is left out, unless it is ``fatal``."""
    try:
        yield
    except NeurozooError as error:
        if type(error) is fatal:
            raise
        reasons[run.name] = str(error).rstrip(".").replace("\n", "; ")


def _lead(runs: Sequence[ReportedRun]) -> str:
    unfinished = [run.name for run in runs if not run.summary]
    about = {own_description(run.content["description"], run.content["data"], {"name": run.data}) for run in runs}
    lead = about.pop() if len(about) == 1 else ""
    if unfinished:
        lead += f"{'. ' if lead else ''}Not finished, so that this is what there is by now: {', '.join(unfinished)}."
    return lead
