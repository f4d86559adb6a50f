"""Finished runs side by side, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from neurozoo.compare.runs import RunResult, RunsComparison, Spread
from neurozoo.core.leaves import leaf_text
from neurozoo.core.task import LOSS
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.operations.energy import energy_of
from neurozoo.reporting.operations import BRIEF, brief
from neurozoo.reporting.tables import Table, number, plain_text, synthetic_mark

__all__ = ["as_text"]


def as_text(found: RunsComparison) -> str:
    """For the screen."""
    notice = [Table(SYNTHETIC_NOTICE)] if any(run.synthetic for run in found.runs) else []
    names = _metrics(found.runs)
    tables = [_overview(found.runs), *_scores(found.runs, names), *_spreads(found.spreads, names)]
    tables += [*_operations(found.runs), _recipes(found), _versions(found)]
    notes = [Table("mind", notes=found.notes)] if found.notes else []
    return plain_text([*notice, *tables, *notes])


def _overview(runs: Sequence[RunResult]) -> Table:
    head = ["run", "recipe", "model", "backend", "seed", "data", "checksum", "epochs", "best", "parameters"]
    head += ["decision", "threshold", "lesion", "seconds"]
    rows = []
    for run in runs:
        name = f"{run.data}{synthetic_mark(run.synthetic)}"
        row = [run.run, run.recipe, run.model, run.backend, str(run.seed), name, run.checksum[:12]]
        row += [str(run.epochs), str(run.best_epoch), f"{run.parameters:,}", _decision(run.decision)]
        row += [number(run.threshold.get("mean")), number(run.lesion.get("permuted", {}).get("test"))]
        rows.append([*row, f"{run.seconds:.0f}"])
    notes = ["threshold: the firing threshold's mean on valid; lesion: effect of permuted spikes on test"]
    return Table(f"{len(runs)} runs", head, rows, notes)


def _metrics(runs: Sequence[RunResult]) -> list[str]:
    """The names of all metrics: in the order of their definitions, and the loss last."""
    named = dict.fromkeys(name for run in runs for name in run.definitions)
    there = dict.fromkeys(name for run in runs for metrics in run.metrics.values() for name in metrics)
    return [*(name for name in named if name != LOSS), *(name for name in there if name not in named or name == LOSS)]


def _decision(decision: Mapping[str, Any]) -> str:
    threshold = decision["threshold"]
    if threshold is None:
        return "-"
    levels = threshold if isinstance(threshold, list) else [threshold]
    return f"{decision['rule']} {', '.join(f'{level:g}' for level in levels)}"


def _scores(runs: Sequence[RunResult], metrics: Sequence[str]) -> Iterator[Table]:
    for split in dict.fromkeys(split for run in runs for split in run.metrics):
        names = [name for name in metrics if any(name in run.metrics.get(split, {}) for run in runs)]
        rows = [[run.run, *(number(run.metrics.get(split, {}).get(name)) for name in names)] for run in runs]
        yield Table(f"metrics on {split}", ["run", *names], rows)


def _spreads(spreads: Sequence[Spread], metrics: Sequence[str]) -> Iterator[Table]:
    for spread in spreads:
        rows = []
        for split, means in spread.mean.items():
            names = [name for name in metrics if name in means]
            rows += [
                [split, name, f"{number(means[name])} ± {number(spread.deviation[split][name])}"] for name in names
            ]
        title = f"mean ± deviation of {len(spread.runs)} runs that differ by their seed alone: {', '.join(spread.runs)}"
        yield Table(title, ["split", "metric", "mean ± deviation"], rows)


def _operations(runs: Sequence[RunResult]) -> Iterator[Table]:
    """What each takes for a sample, where that was counted."""
    if not any(run.operations for run in runs):
        return
    rows = []
    for run in runs:
        profile = run.operations
        if profile is None:
            rows.append([run.run, *["-"] * (len(BRIEF) + 3)])
            continue
        network, control = profile.network, profile.control
        own, other = energy_of(network).operations, 0.0 if control is None else energy_of(control).operations
        beside = ["-", "-"] if control is None else [brief(control)[-1], f"{own / other:.2f}" if other else "-"]
        rows.append([run.run, f"{network.samples} of {profile.of}", *brief(network), *beside])
    notes = ["on valid; nJ and control: an estimate of energy for operations; - is for `neurozoo profile RUN` to count"]
    yield Table("operations a sample", ["run", "samples", *BRIEF, "control, nJ", "ratio"], rows, notes)


def _recipes(found: RunsComparison) -> Table:
    rows = [[path, *map(leaf_text, values)] for path, values in found.recipes_differ.items()]
    head = ["key", *(run.run for run in found.runs)]
    return Table("what of the recipes differs", head, rows, [] if rows else ["nothing"])


def _versions(found: RunsComparison) -> Table:
    told = {run.run: ", ".join(f"{name} {version}" for name, version in run.versions.items()) for run in found.runs}
    if len(set(told.values())) == 1:
        return Table("versions", notes=[next(iter(told.values()))])
    return Table("versions", notes=[f"{run}: {versions}" for run, versions in told.items()])
