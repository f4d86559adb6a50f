"""One run on one screen: what it was made of, its scores with intervals, warnings, and what to do next."""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import NeurozooError, RunError
from neurozoo.files.opening import read_bytes
from neurozoo.models.build import make_problem
from neurozoo.reporting.runs.run_contents import REPORT
from neurozoo.reporting.runs.runs_text import byte_count
from neurozoo.reporting.summaries import health_cells, ordered_metrics
from neurozoo.reporting.tables import columns, number, synthetic_mark
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.packed import is_packed
from neurozoo.runs.run import Run
from neurozoo.runs.table import read_row
from neurozoo.studies.intervals import Interval, resampled_difference

__all__ = ["DRAWS", "MOST_ANSWERS", "overview_lines", "run_overview"]

DRAWS = 200
"""How often the samples are drawn again for an interval."""
MOST_ANSWERS = 20_000
"""Splits of more answers have no interval here, which would take longer than anybody looks at a screen."""
_LAYERS = 12
"""So many spiking layers are shown."""


def run_overview(folder: str | Path) -> dict[str, Any]:
    """Return what there is to know of a run, as plain values.

    That is its row of :class:`neurozoo.runs.table.RunsTable`, and ``digest`` (of the recipe), ``device``,
    ``data_root`` and whether it is ``data_there``, ``splits``, ``metrics`` by split, ``intervals`` (95 %, of the
    headline metrics, over resampled samples), ``health`` by layer on valid, ``lesion``, ``warnings``, ``evaluations``
    (how often it was measured again), ``closed`` splits, and ``next``: commands, each with what it does. A damaged run
    has the ``problem``, and lacks the rest.

    Raises:
        RunError: The folder is no run.
    """
    folder = Path(folder)
    if is_packed(folder):
        raise RunError(f"{folder}: is a packed model, and no run; `neurozoo show {folder}` shows its card")
    run = Run(folder)
    if not run.has("run.json"):
        raise RunError(f"{folder}: not a run folder, it holds no run.json; name the folder that train wrote")
    row = read_row(folder, folder)
    found: dict[str, Any] = {**row.values, "run": str(folder)}
    if found["status"] == "damaged":
        return found
    try:
        found |= _details(run, found["status"])
    except (NeurozooError, LookupError, TypeError, ValueError, AttributeError) as error:
        found |= {"status": "damaged", "problem": str(error)}
    return found


def _details(run: Run, status: str) -> dict[str, Any]:
    recipe = run.recipe()
    summary, data = run.read_json_if_there("summary.json"), run.read_json_if_there("data.json")
    root = run.data_root
    warned = [each for each in summary.get("warnings", ()) if each != SYNTHETIC_NOTICE]
    root_there = None if root is None else root.is_dir()
    return {
        "description": recipe.description,
        "digest": recipe.digest,
        "of_epochs": recipe.training.epochs,
        "device": run.read_json_if_there("environment.json").get("device"),
        "data_root": None if root is None else str(root),
        "data_there": root_there,
        "splits": data.get("splits", {}),
        "metrics": summary.get("metrics", {}),
        "metric_definitions": summary.get("metric_definitions", {}),
        "intervals": _intervals(run, data, summary),
        "health": summary.get("health", {}).get("valid", {}),
        "lesion": summary.get("lesion", {}),
        "warnings": warned,
        "started_from": summary.get("started_from"),
        "evaluations": _evaluations(run),
        "closed": list(run.closed),
        "next": _next(run, status, root_there),
    }


def _intervals(run: Run, data: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return 95 % intervals of the headline metrics by split and name: percentiles over resampled samples.

    Samples of one group, such as segments of one video, are drawn together.
    """
    outputs = data.get("task", {}).get("outputs") or data.get("labels")
    if not summary or not outputs:
        return {}
    task = make_problem(run.recipe(), {}, outputs).task
    decision = summary.get("decision", summary.get("decision_threshold"))
    found: dict[str, dict[str, Any]] = {}
    for split in summary["metrics"]:
        path = run.folder / "predictions" / f"{split}.safetensors"
        if not path.is_file():
            continue
        tensors, metadata = read_tensors(path, inside=run.folder)
        if not {"predicted", "target"} <= tensors.keys() or not 0 < len(tensors["target"]) <= MOST_ANSWERS:
            continue
        target, predicted = tensors["target"].numpy(), tensors["predicted"].double().numpy()
        samples = tensors["samples"].tolist() if "samples" in tensors else range(len(target))
        ids = metadata.get("ids") or []
        groups = [str(ids[n]).partition("[")[0] if n < len(ids) else str(n) for n in samples]
        names = [name for name in task.headline if summary["metrics"][split].get(name) is not None]

        def scores(
            places: NDArray[np.int64], target: NDArray[Any] = target, predicted: NDArray[Any] = predicted,
            names: list[str] = names,
        ) -> Mapping[str, float]:  # fmt: skip
            return task.measure(target[places], predicted[places], decision, names)

        zero = dict.fromkeys(names, 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a metric that is defined for no draw
            made = resampled_difference(scores, [lambda _, zero=zero: zero], groups, draws=DRAWS)  # type: ignore[misc]
        found[split] = {name: _ends(each) for name, each in made.items()}
    return found


def _ends(interval: Interval) -> list[float] | None:
    return [interval.low, interval.high] if math.isfinite(interval.low) and math.isfinite(interval.high) else None


def _evaluations(run: Run) -> int:
    if not run.has("evaluations.jsonl"):
        return 0
    path = run.folder / "evaluations.jsonl"
    return read_bytes(path, inside=run.folder, error=RunError).count(b"\n")


def _next(run: Run, status: str, root_there: bool | None) -> dict[str, str]:
    """Return commands that lead on, each with what it does."""
    where = str(run.folder)
    moved = [] if root_there in (None, True) else ["--data-root", "DIR"]
    commands = {
        "finished": [
            (["report", where], "all of it as a page with pictures"),
            (["verify", where, *moved], "measures it again, and compares with these numbers"),
            (["pack", where], "packs it for a model hub"),
        ],
        "running": [(["report", where], "what there is by now, as a page")],
        "interrupted": [
            (["train", "--resume", where, *moved], "continues as if it had never stopped"),
            (["report", where], "what there is by now, as a page"),
        ],
    }
    known = commands.get(status, commands["interrupted"])
    if status == "finished" and run.closed:
        known = known[:2]  # a run of a search is not packed
    lines = {shlex.join(["neurozoo", *words]): what for words, what in known}
    if status == "finished" and run.has(REPORT):
        (_, what), *others = lines.items()  # the first makes the page
        lines = {shlex.join(["open", str(run.folder / REPORT)]): what, **dict(others)}
    return lines


def overview_lines(run: Mapping[str, Any]) -> str:
    """What :func:`run_overview` found, for people."""
    status = run["status"]
    facts = [["run", f"{run['run']}: {status}{_progress(run)}"]]
    if "recipe" in run:
        digest = f", digest {run['digest'][:12]}" if "digest" in run else ""
        facts.append(
            ["recipe", f"{run['recipe']}, model {run['model']}, backend {run['backend']}, seed {run['seed']}{digest}"]
        )
        about = f"{run['data']}{synthetic_mark(bool(run.get('synthetic')))}"
        about += f", checksum {run['data_checksum'][:12]}" if "data_checksum" in run else ""
        about += "".join(f", {name} {size}" for name, size in run.get("splits", {}).items())
        facts.append(["data", about])
    if run.get("data_there") is False:
        facts.append(["", f"not in {run['data_root']} any more"])
    if "seconds" in run:
        device = f" on {run['device']}" if run.get("device") else ""
        parameters = f", {run['parameters']:,} parameters" if "parameters" in run else ""
        facts.append(["time", f"{_duration(run['seconds'])}{device}{parameters}"])
    facts.append(["disk", f"{byte_count(run['bytes'])}, last changed {run['changed'][:16].replace('T', ' ')} UTC"])
    if run.get("study"):
        facts.append(["study", f"one of the runs in {run['study']}"])
    if run.get("started_from"):
        facts.append(["began with", f"the weights of a run of {run['started_from']['recipe']}"])
    if run.get("evaluations"):
        facts.append(["measured", f"{run['evaluations']} times since the training"])
    blocks = [columns(facts)]
    if table := _metrics_table(run):
        blocks.append((f"{SYNTHETIC_NOTICE}\n" if run.get("synthetic") else "") + columns(table))
    if health := run.get("health"):
        rows = [[name, *health_cells(layer)] for name, layer in list(health.items())[:_LAYERS]]
        more = [f"and {len(health) - _LAYERS} more layers"] if len(health) > _LAYERS else []
        blocks.append("\n".join([columns([["spiking layer (valid)", "rate", "dead", "saturated"], *rows]), *more]))
    if run.get("warnings"):
        blocks.append("\n".join(["warnings", *(f"  {each}" for each in run["warnings"])]))
    if run.get("next"):
        blocks.append("\n".join(["next", columns(list(run["next"].items()), "  ")]))
    return "\n\n".join(blocks)


def _progress(run: Mapping[str, Any]) -> str:
    if "epochs" not in run:
        return ""
    best = f", the best is {run['best_epoch']}" if "best_epoch" in run else ""
    of = f" of {run['of_epochs']}" if run.get("of_epochs", run["epochs"]) > run["epochs"] else ""
    return f", epoch {run['epochs']}{of}{best}"


def _metrics_table(run: Mapping[str, Any]) -> list[list[str]]:
    metrics = run.get("metrics") or {}
    if not metrics and (valid := {k.removeprefix("valid_"): v for k, v in run.items() if k.startswith("valid_")}):
        metrics = {"valid": valid}
    names = ordered_metrics(metrics, run.get("metric_definitions", {}))
    intervals = run.get("intervals") or {}

    def cell(split: str, name: str) -> str:
        value = number(metrics[split].get(name))
        ends = intervals.get(split, {}).get(name)
        return f"{value} ({number(ends[0])} to {number(ends[1])})" if ends else value

    head = "metric (95 % interval over samples)" if intervals else "metric"
    rows = [[name, *(cell(split, name) for split in metrics)] for name in names]
    return [[head, *metrics], *rows] if rows else []


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
