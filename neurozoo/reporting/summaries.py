"""What a training, an evaluation or several seeds measured, as aligned lines for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import columns, number

if TYPE_CHECKING:
    from neurozoo.core.task import Task
    from neurozoo.studies.collect import Collection
    from neurozoo.studies.intervals import Spread
    from neurozoo.studies.seeds import SeedsResult

__all__ = [
    "HEALTH", "collection_lines", "health_cells", "loss_definition", "ordered_metrics", "seeds_lines", "summary_lines",
]  # fmt: skip

HEALTH = ("rate", "dead", "saturated")
"""What is shown of a spiking layer's health, as shares."""


def health_cells(layer: Mapping[str, float | None]) -> list[str]:
    """A spiking layer's health as percentages, in the order of :data:`HEALTH`; a dash if there is no number."""
    return ["-" if (share := layer.get(name)) is None else f"{share:.1%}" for name in HEALTH]


def loss_definition(task: Task) -> str:
    """What the loss in a table of metrics is."""
    of = "steps" if task.per_step else "samples"
    unit = task.loss_unit.removesuffix("^2")
    named = {"target": "units of the target", "deviations": "standard deviations of the target"}.get(unit, unit)
    squares = "squared " if task.loss_unit.endswith("^2") else ""
    return f"the task's loss without class weights and focus, mean over {of}, in {squares}{named}"


def summary_lines(summary: Mapping[str, Any]) -> str:
    """The measurements of a run or an evaluation, for people."""
    tables: list[list[list[str]]] = []
    if metrics := summary.get("metrics", {}):
        names = ordered_metrics(metrics, summary.get("metric_definitions", {}))
        tables.append(
            [["metric", *metrics], *([name, *(number(by.get(name)) for by in metrics.values())] for name in names)]
        )
    for split, layers in summary.get("health", {}).items():
        if layers:
            rows = [[name, *health_cells(layer)] for name, layer in layers.items()]
            tables.append([[f"spiking layer ({split})", *HEALTH], *rows])
    if lesion := summary.get("lesion", {}):
        splits = list(next(iter(lesion.values())))
        rows = [[kind, *(number(effect.get(split)) for split in splits)] for kind, effect in lesion.items()]
        tables.append([["lesion effect", *splits], *rows])
    # Above every table, so that no part of it can be quoted without.
    above = f"{SYNTHETIC_NOTICE}\n" if summary.get("synthetic") else ""
    blocks = [above + columns(table) for table in tables]
    run = summary.get("run")
    return "\n\n".join(blocks if run is None else [*blocks, f"run folder: {Path(str(run))}"])


def seeds_lines(result: SeedsResult) -> str:
    """How the numbers of several seeds spread, for people."""
    splits, seeds = list(result.metrics), result.seeds
    few = f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else "one seed"
    tables = [[[f"mean ± deviation (95 % interval) of {few}", *splits]], [["lesion effect", *splits]]]
    for name in ordered_metrics(result.metrics, result.metric_definitions):
        tables[0].append([name, *(_spread(result.metrics[split].get(name)) for split in splits)])
    for kind, by_split in result.lesion.items():
        tables[1].append([kind, *(_spread(by_split.get(split)) for split in splits)])
    above = f"{SYNTHETIC_NOTICE}\n" if result.synthetic else ""
    return "\n\n".join(above + columns(table) for table in tables if len(table) > 1)


def collection_lines(result: Collection) -> str:
    """The groups of a collection side by side, for people: a table a split; one group alone as its seeds."""
    left_out = [f"left out: {path}: {reason}" for path, reason in result.left_out.items()]
    if len(result.groups) == 1:
        return "\n".join([f"{result.groups[0].recipe}\n{seeds_lines(result.groups[0])}", *left_out])
    blocks = []
    for split in dict.fromkeys(split for group in result.groups for split in group.metrics):
        groups = [group for group in result.groups if split in group.metrics]
        names = dict.fromkeys(n for g in groups for n in ordered_metrics(g.metrics, g.metric_definitions))
        rows = [[f"mean ± deviation over seeds ({split})", "seeds", *names]]
        for group in groups:
            cells = [group.metrics[split].get(name) for name in names]
            rows.append(
                [" ".join([group.recipe, *group.overrides]), str(len(group.seeds))]
                + ["-" if cell is None else f"{number(cell.mean)} ± {number(cell.deviation)}" for cell in cells]
            )
        above = f"{SYNTHETIC_NOTICE}\n" if any(group.synthetic for group in groups) else ""
        blocks.append(above + columns(rows))
    return "\n\n".join([*blocks, *(["\n".join(left_out)] if left_out else [])])


def ordered_metrics(metrics: Mapping[str, Mapping[str, Any]], definitions: Mapping[str, str]) -> list[str]:
    """The metrics of all splits in the order of the task's definitions, then the others, the loss last."""
    there = dict.fromkeys(name for by_name in metrics.values() for name in by_name)
    known = [*(name for name in definitions if name in there), *(name for name in there if name not in definitions)]
    return sorted(known, key=lambda name: name == "loss")


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{number(spread.mean)} ± {number(spread.deviation)} ({number(spread.low)} to {number(spread.high)})"
