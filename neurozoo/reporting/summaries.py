"""What a training, an evaluation or several seeds measured, as aligned lines for the screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import columns, number

if TYPE_CHECKING:
    from neurozoo.core.task import Task
    from neurozoo.studies.intervals import Spread
    from neurozoo.studies.seeds import SeedsResult

__all__ = ["loss_definition", "seeds_lines", "summary_lines"]


def loss_definition(task: Task) -> str:
    """What the loss in a table of metrics is."""
    of = "steps" if task.per_step else "samples"
    unit = task.loss_unit.removesuffix("^2")
    named = {"target": "units of the target", "deviations": "standard deviations of the target"}.get(unit, unit)
    squares = "squared " if task.loss_unit.endswith("^2") else ""
    return f"the task's loss without class weights and focus, mean over {of}, in {squares}{named}"


def summary_lines(summary: Mapping[str, Any]) -> str:
    """What a run or an evaluation measured, for people."""
    blocks: list[str] = []
    metrics: Mapping[str, Mapping[str, float]] = summary.get("metrics", {})
    if metrics:
        splits = list(metrics)
        known = _ordered(metrics, summary.get("metric_definitions", {}))
        rows = [["metric", *splits]]
        rows += [[name, *(number(metrics[split].get(name)) for split in splits)] for name in known]
        blocks.append(columns(rows))
    health: Mapping[str, Mapping[str, Mapping[str, float]]] = summary.get("health", {})
    for split, layers in health.items():
        if layers:
            rows = [[f"spiking layer ({split})", "rate", "dead", "saturated"]]
            rows += [
                [name, *(f"{each[k]:.1%}" for k in ("rate", "dead", "saturated"))] for name, each in layers.items()
            ]
            blocks.append(columns(rows))
    lesion: Mapping[str, Mapping[str, float]] = summary.get("lesion", {})
    if lesion:
        splits = list(next(iter(lesion.values())))
        rows = [["lesion effect", *splits]]
        rows += [[kind, *(number(effect.get(split)) for split in splits)] for kind, effect in lesion.items()]
        blocks.append(columns(rows))
    if summary.get("synthetic"):
        # Above and below every table, so that no part of it can be quoted without.
        blocks = [text for block in blocks for text in (SYNTHETIC_NOTICE, block)]
    run = summary.get("run")
    if run is not None:
        blocks.append(f"run folder: {Path(str(run))}")
    return "\n\n".join(blocks).replace(f"{SYNTHETIC_NOTICE}\n\n", f"{SYNTHETIC_NOTICE}\n")


def seeds_lines(found: SeedsResult) -> str:
    """How the numbers of several seeds spread, for people."""
    splits = list(found.metrics)
    known = _ordered(found.metrics, found.metric_definitions)
    few = f"{len(found.seeds)} seeds, {found.seeds[0]} to {found.seeds[-1]}" if len(found.seeds) > 1 else "one seed"
    tables = [
        [[f"mean ± deviation (95 % interval) of {few}", *splits]]
        + [[name, *(_spread(found.metrics[split].get(name)) for split in splits)] for name in known],
        [["lesion effect", *splits]]
        + [[kind, *(_spread(by_split.get(split)) for split in splits)] for kind, by_split in found.lesion.items()],
    ]
    above = f"{SYNTHETIC_NOTICE}\n" if found.synthetic else ""
    return "\n\n".join(above + columns(table) for table in tables)


def _ordered(metrics: Mapping[str, Mapping[str, Any]], definitions: Mapping[str, str]) -> list[str]:
    """Names in the order of the task's definitions, then the others, the loss last."""
    there = dict.fromkeys(name for by_name in metrics.values() for name in by_name)
    known = [*(name for name in definitions if name in there), *(name for name in there if name not in definitions)]
    return sorted(known, key=lambda name: name == "loss")


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    ends = f"({number(spread.low)} to {number(spread.high)})"
    return f"{number(spread.mean)} ± {number(spread.deviation)} {ends}"
