"""Finished runs side by side, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from neurozoo.compare.runs import RunResult, RunsComparison, Spread
from neurozoo.core.leaves import leaf_text
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.operations import BRIEF, CONTROL, brief, control_cells
from neurozoo.reporting.summaries import ordered_metrics
from neurozoo.reporting.tables import Table, number, plain_text, synthetic_mark

__all__ = ["as_text"]


def as_text(comparison: RunsComparison) -> str:
    """For the screen."""
    runs = comparison.runs
    definitions = {name: text for run in runs for name, text in run.definitions.items()}
    by_split = {f"{k} {split}": metrics for k, run in enumerate(runs) for split, metrics in run.metrics.items()}
    names = ordered_metrics(by_split, definitions)
    tables = [Table(SYNTHETIC_NOTICE)] if any(run.synthetic for run in runs) else []
    tables += [_overview(runs), *_scores(runs, names), *_spreads(comparison.spreads, names), *_operations(runs)]
    rows = [[path, *map(leaf_text, values)] for path, values in comparison.recipes_differ.items()]
    head = ["key", *(run.run for run in runs)]
    tables.append(Table("what of the recipes differs", head, rows, [] if rows else ["nothing"]))
    tables.append(_versions(runs))
    tables += [Table("mind", notes=comparison.notes)] if comparison.notes else []
    return plain_text(tables)


def _overview(runs: Sequence[RunResult]) -> Table:
    head = ["run", "recipe", "model", "backend", "seed", "data", "checksum", "epochs", "best", "parameters"]
    head += ["decision", "threshold", "lesion", "seconds"]
    rows = []
    for run in runs:
        name = f"{run.data}{synthetic_mark(run.synthetic)}"
        row = [run.run, run.recipe, run.model, run.backend, str(run.seed), name, run.checksum[:12]]
        threshold, decision = run.decision["threshold"], "-"
        if threshold is not None:
            levels = threshold if isinstance(threshold, list) else [threshold]
            decision = f"{run.decision['rule']} {', '.join(f'{level:g}' for level in levels)}"
        row += [str(run.epochs), str(run.best_epoch), f"{run.parameters:,}", decision]
        row += [number(run.threshold.get("mean")), number(run.lesion.get("permuted", {}).get("test"))]
        rows.append([*row, f"{run.seconds:.0f}"])
    notes = ["threshold: the firing threshold's mean on valid; lesion: effect of permuted spikes on test"]
    return Table(f"{len(runs)} runs", head, rows, notes)


def _scores(runs: Sequence[RunResult], metrics: Sequence[str]) -> Iterator[Table]:
    for split in dict.fromkeys(split for run in runs for split in run.metrics):
        names = [name for name in metrics if any(name in run.metrics.get(split, {}) for run in runs)]
        rows = [[run.run, *(number(run.metrics.get(split, {}).get(name)) for name in names)] for run in runs]
        yield Table(f"metrics on {split}", ["run", *names], rows)


def _spreads(spreads: Sequence[Spread], metrics: Sequence[str]) -> Iterator[Table]:
    for spread in spreads:
        rows = [
            [split, name, f"{number(means[name])} ± {number(spread.deviation[split][name])}"]
            for split, means in spread.mean.items()
            for name in metrics
            if name in means
        ]
        title = f"mean ± deviation of {len(spread.runs)} runs that differ by their seed alone: {', '.join(spread.runs)}"
        yield Table(title, ["split", "metric", "mean ± deviation"], rows)


def _operations(runs: Sequence[RunResult]) -> Iterator[Table]:
    """The operations a sample of the runs that were profiled."""
    if not any(run.operations for run in runs):
        return
    rows = []
    for run in runs:
        profile = run.operations
        cells = ["-"] * (len(BRIEF) + len(CONTROL) + 1)
        if profile is not None:
            samples = f"{profile.network.samples} of {profile.of}"
            cells = [samples, *brief(profile.network), *control_cells(profile)]
        rows.append([run.run, *cells])
    notes = ["on valid; nJ and control: an estimate of energy for operations; - is for `neurozoo profile RUN` to count"]
    yield Table("operations a sample", ["run", "samples", *BRIEF, *CONTROL], rows, notes)


def _versions(runs: Sequence[RunResult]) -> Table:
    versions = {run.run: ", ".join(f"{name} {version}" for name, version in run.versions.items()) for run in runs}
    if len(set(versions.values())) == 1:
        return Table("versions", notes=[next(iter(versions.values()))])
    return Table("versions", notes=[f"{run}: {text}" for run, text in versions.items()])
