"""What runs are, in tables: origin, scores, warnings, recipe and environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neurozoo.compare.runs import differences, notes
from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.tables import Table, number, synthetic_mark

__all__ = ["environment", "metrics", "overview", "recipes", "warnings"]


def overview(runs: Sequence[ReportedRun]) -> list[Table]:
    """What each run is, a column a run, and what makes them hard to compare."""
    rows = {
        "recipe": [run.recipe for run in runs],
        "model": [run.content["model"]["name"] for run in runs],
        "backend": [run.content["backend"] for run in runs],
        "seed": [str(run.content["seed"]) for run in runs],
        "data": [f"{run.data}{synthetic_mark(run.synthetic)}" for run in runs],
        "checksum": [run.checksum[:12] or "-" for run in runs],
        "samples": [", ".join(f"{name} {size:,}" for name, size in run.splits.items()) or "-" for run in runs],
        "status": ["finished" if run.summary else "not finished" for run in runs],
        "epochs": [f"{len(run.records)} of {run.content['training']['epochs']}" for run in runs],
        "best epoch": [_said(run.summary.get("best_epoch")) for run in runs],
        "parameters": [f"{run.summary['parameters']:,}" if "parameters" in run.summary else "-" for run in runs],
        "decision threshold": [_said(run.summary.get("decision_threshold")) for run in runs],
        "seconds": [f"{sum(record.get('seconds') or 0 for record in run.records):.0f}" for run in runs],
    }
    head = ["", *(run.name for run in runs)]
    return [
        Table(
            "Runs" if len(runs) > 1 else "The run",
            head,
            [[name, *cells] for name, cells in rows.items()],
            list(notes(runs)),
        )
    ]


def warnings(runs: Sequence[ReportedRun]) -> list[Table]:
    """What the runs warned about."""
    several = len(runs) > 1
    told = [f"{run.name}: {text}" if several else text for run in runs for text in run.summary.get("warnings", ())]
    return [Table("Warnings", notes=told)] if told else []


def metrics(runs: Sequence[ReportedRun]) -> list[Table]:
    """The scores of the finished runs, with what each is."""
    columns = [(run, split) for run in runs for split in run.summary.get("metrics", {})]
    if not columns:
        return [Table("Metrics", notes=["They are measured when a run is finished; until then, see the curves."])]
    names = list(dict.fromkeys(name for run, split in columns for name in run.summary["metrics"][split]))
    head = ["metric", *(f"{run.name}, {split}" if len(runs) > 1 else split for run, split in columns)]
    rows = [[name, *(number(run.summary["metrics"][split].get(name)) for run, split in columns)] for name in names]
    defined = {"loss": "mean binary cross-entropy in nats, against targets smoothed as the recipe says"}
    for run in runs:
        defined |= run.definitions
    return [Table("Metrics", head, rows, [f"{name}: {defined[name]}" for name in names if name in defined])]


def recipes(runs: Sequence[ReportedRun]) -> list[Table]:
    """The resolved recipes: what differs first, then what is the same."""
    differ = differences([run.content for run in runs])
    same = [(path, value) for path, value in leaves(runs[0].content) if path not in differ]
    rows = [[path, leaf_text(value)] for path, value in same]
    if len(runs) == 1:
        return [Table("Recipe, resolved", ["key", "value"], rows)]
    changed = [[path, *map(leaf_text, values)] for path, values in differ.items()]
    head = ["key", *(run.name for run in runs)]
    return [
        Table("What differs between the recipes", head, changed, [] if changed else ["nothing"]),
        Table("The same in all recipes", ["key", "value"], rows),
    ]


def environment(runs: Sequence[ReportedRun]) -> list[Table]:
    """Versions, threads and device, a column a run."""
    flat = [dict(leaves(run.environment)) for run in runs]
    names = [name for name in dict.fromkeys(name for each in flat for name in each) if name != "schema"]
    if not names:
        return [Table("Environment", notes=["The run did not get that far."])]
    rows = [[name, *(_said(each.get(name)) for each in flat)] for name in names]
    return [Table("Environment", ["", *(run.name for run in runs)], rows)]


def _said(value: Any) -> str:
    return "-" if value is None else leaf_text(value)
