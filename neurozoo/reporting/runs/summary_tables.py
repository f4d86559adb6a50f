"""What runs are, in tables: origin, scores, warnings, recipe, environment and operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neurozoo.compare.runs import differences, notes
from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.errors import DataError
from neurozoo.operations.energy import energy_of
from neurozoo.operations.profiling import Told, kept_profile, profile_run
from neurozoo.operations.result import OperationsProfile
from neurozoo.reporting import operations as views
from neurozoo.reporting.page import Content
from neurozoo.reporting.runs.run_contents import ReportedRun
from neurozoo.reporting.summaries import loss_definition
from neurozoo.reporting.tables import Table, number, synthetic_mark
from neurozoo.runs.trained_folder import open_trained

__all__ = ["environment", "metrics", "operations", "operations_facts", "overview", "profiled", "recipes", "warnings"]

_SAMPLES = 200
"""How many samples a report counts operations of, if the run has kept no profile."""


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
        "best epoch": [_text(run.summary.get("best_epoch")) for run in runs],
        "parameters": [f"{run.summary['parameters']:,}" if "parameters" in run.summary else "-" for run in runs],
        "decision": [_text(run.decision if run.summary else None) for run in runs],
        "seconds": [f"{sum(record.get('seconds') or 0 for record in run.records):.0f}" for run in runs],
    }
    if set(rows["decision"]) == {"-"}:
        del rows["decision"]
    title = "Runs" if len(runs) > 1 else "The run"
    return [
        Table(title, ["", *(run.name for run in runs)], [[name, *row] for name, row in rows.items()], list(notes(runs)))
    ]


def warnings(runs: Sequence[ReportedRun]) -> list[Table]:
    """The warnings of the runs."""
    several = len(runs) > 1
    lines = [f"{run.name}: {text}" if several else text for run in runs for text in run.summary.get("warnings", ())]
    return [Table("Warnings", notes=lines)] if lines else []


def metrics(runs: Sequence[ReportedRun]) -> list[Table]:
    """The scores of the finished runs, and the definition of each."""
    columns = [(run, split) for run in runs for split in run.summary.get("metrics", {})]
    if not columns:
        return [Table("Metrics", notes=["They are measured when a run is finished; until then, see the curves."])]
    there = dict.fromkeys(name for run, split in columns for name in run.summary["metrics"][split])
    ordered = dict.fromkeys(["loss", *(name for run in runs for name in run.definitions), *there])
    names = [name for name in ordered if name in there]
    head = ["metric", *(f"{run.name}, {split}" if len(runs) > 1 else split for run, split in columns)]
    rows = [[name, *(number(run.summary["metrics"][split].get(name)) for run, split in columns)] for name in names]
    defined = {"loss": " or ".join(dict.fromkeys(loss_definition(run.task) for run in runs if run.task is not None))}
    for run in runs:
        defined |= run.definitions
    return [Table("Metrics", head, rows, [f"{name}: {defined[name]}" for name in names if defined.get(name)])]


def recipes(runs: Sequence[ReportedRun]) -> list[Table]:
    """The resolved recipes: what differs first, then what is the same."""
    differ = differences([run.content for run in runs])
    rows = [[path, leaf_text(value)] for path, value in leaves(runs[0].content) if path not in differ]
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
    rows = [[name, *(_text(each.get(name)) for each in flat)] for name in names]
    return [Table("Environment", ["", *(run.name for run in runs)], rows)]


def _text(value: Any) -> str:
    return "-" if value is None else leaf_text(value)


def profiled(run: ReportedRun, *, data_root: str | None = None, told: Told) -> OperationsProfile:
    """Return the profile on valid that the run keeps, or make one of fewer samples.

    Raises:
        NeurozooError: None is kept, and the data or the weights are missing or others.
    """
    profile = kept_profile(open_trained(run.folder))
    if profile is None:
        profile = profile_run(run.folder, samples=_SAMPLES, data_root=data_root, told=told)
        if not profile.same_data:
            raise DataError(f"the data of the name {run.data} that is here is not what it was trained on")
    return profile


def operations(
    runs: Sequence[ReportedRun], found: Mapping[str, OperationsProfile], why: Mapping[str, str]
) -> list[Content]:
    """Operations and energy; for a single run by part, with pictures."""
    missing = [f"{name} is left out: {reason}" for name, reason in why.items()]
    if not found:
        return [Table("Operations and energy", notes=missing)]
    if len(runs) == 1:
        (profile,) = found.values()
        counted, *others = views.operations_tables(profile)
        first = Table("Operations and energy", counted.head, counted.rows, [views.heading(profile), *counted.notes])
        pictures = views.operations_pictures(profile)
        # A table without a title continues the section before; its title becomes a note.
        *apart, energy = (
            Table("", each.head, each.rows, [each.title, *each.notes])
            for each in [*others, views.energy_table(profile)]
        )
        return [first, pictures[0], *apart, pictures[1], energy]
    rows = []
    for name, profile in found.items():
        sparsity = profile.network.sparsity
        cells = [
            *views.brief(profile.network),
            *views.control_cells(profile),
            "-" if sparsity is None else f"{sparsity:.1%}",
        ]
        rows.append([name, *cells])
    lines = [f"{name}: {views.heading(profile)}" for name, profile in found.items()]
    lines.append("The energy is an estimate for operations alone; `neurozoo profile RUN` says what it assumes.")
    return [
        Table(
            "Operations and energy",
            ["run, a sample", *views.BRIEF, *views.CONTROL, "sparsity"],
            rows,
            [*lines, *missing],
        )
    ]


def operations_facts(found: Mapping[str, OperationsProfile]) -> dict[str, Any]:
    """What was counted, for programs: means over the samples, and the estimate of energy in pJ."""
    return {
        name: {
            "samples": profile.network.samples,
            "split": profile.split,
            **{
                what: profile.network.a_sample(getattr(profile.network, what))
                for what in ("dense", "macs", "acs", "attention", "updates")
            },
            "sparsity": profile.network.sparsity,
            "energy_estimate_pj": energy_of(profile.network).operations,
            "control_energy_estimate_pj": None if profile.control is None else energy_of(profile.control).operations,
        }
        for name, profile in found.items()
    }
