"""The last lines of a training: whether it learned, which layers stay silent and why, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from neurozoo.evaluation.health import DEAD
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.reporting.runs.run_contents import REPORT, ReportedRun, read_runs
from neurozoo.reporting.tables import columns, number

__all__ = ["HARDLY", "conclusion_lines", "corrected_variant", "error_removed", "silent_layers"]

HARDLY = 0.1
"""Share of a constant answer's error; a model that removes less of it has hardly learned, dimensionless."""

_LOWERING = ("total", "total-squared", "operations")
"""Penalties that only ever pull rates down."""
_FIRST = "fsdd_small"
"""The recipe of real data that comes with neurozoo."""
_NAMED = 6
"""So many silent layers are named."""


def conclusion_lines(folder: Path) -> list[str]:
    """Return the last lines of a finished training, for the screen.

    The score of the task's :attr:`~neurozoo.core.task.Task.selection` stands next to that of a constant answer; layers
    that do not spike are named with what the recipe has to do with it, and the corrected variant of the recipe if there
    is one; the last lines are what to do next.

    Args:
        folder: The run folder.

    Raises:
        RunError: It is no run folder, or a file of it is damaged.
    """
    (run,) = read_runs([folder])
    silent, lines, hardly = silent_layers(run), [], False
    if (found := error_removed(run)) is not None:
        split, title, score, level, removed = found
        hardly = not removed >= HARDLY  # also if it is NaN
        verdict = ": it hardly learned" if hardly else ""
        lines.append(
            f"{title} on {split} {number(score, 3)}; one answer for every sample gets {number(level, 3)}{verdict}"
        )
    if silent:
        named = ", ".join(silent[:_NAMED]) + (f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else "")
        lines.append(f"silent: {named}; below {DEAD:.1%} of the steps on valid, so that what follows gets no spikes")
        lines += [f"  the reason: {reason}" for reason in _reasons(run)]
    if (variant := corrected_variant(run.recipe)) is not None and (silent or hardly):
        root = run.content["data"].get("root")
        command = ["neurozoo", "train", variant, *([] if root is None else [f"data.root={root}"])]
        lines += ["the corrected variant of this recipe does without these faults:", f"  {shlex.join(command)}"]
    if run.synthetic:
        lines += ["a training on real data, without any download:", f"  neurozoo train {_FIRST}"]
    lines.append("next:")
    if (folder / REPORT).is_file():
        commands = {f"open {folder / REPORT}": "all of it as a page with pictures"}
    else:
        commands = {shlex.join(["neurozoo", "report", str(folder)]): "all of it as a page with pictures"}
    commands[shlex.join(["neurozoo", "profile", str(folder)])] = "its operations, next to a network without spikes"
    return [*lines, *columns(list(commands.items()), "  ").splitlines()]


def silent_layers(run: ReportedRun) -> list[str]:
    """Return the spiking layers whose mean rate on valid is below :data:`~neurozoo.evaluation.health.DEAD`."""
    layers = run.summary.get("health", {}).get("valid", {})
    return [name for name, layer in layers.items() if (layer.get("rate") or 0.0) < DEAD]


def error_removed(run: ReportedRun) -> tuple[str, str, float, float, float] | None:
    """Compare the selecting metric with that of a constant answer, on test, or on valid if test was not predicted.

    Returns:
        Split; the metric's title; the model's score; the constant answer's; and the share of the constant answer's
        error that the model removes, dimensionless. The error of a metric that is better if higher is its distance to
        1. None without predictions, or if a score is not defined.
    """
    task = run.task
    split = next((each for each in ("test", "valid") if each in run.predictions), None)
    if task is None or split is None:
        return None
    target, predicted = run.predictions[split].target, run.predictions[split].predicted
    constant = task.constant(target)
    name = task.selection
    title = next(metric.title for metric in task.metrics if metric.name == name)
    score, level = (task.measure(target, each, run.decision, [name])[name] for each in (predicted, constant))
    error, left = (1 - level, 1 - score) if task.better(name) == "higher" else (level, score)
    return (split, title, score, level, 1 - left / error) if error > 0 else None  # and not if one is NaN


def _reasons(run: ReportedRun) -> Sequence[str]:
    """Return what a recipe does, or omits, that silent layers come from."""
    training = run.content["training"]
    reasons = []
    if training["initialisation"]["name"] == "default":
        reasons.append(
            "training.initialisation.name=default: weights that are drawn independently of the data give currents "
            "below the threshold"
        )
    penalties = [training["rate_penalty"], *training["penalties"]]
    if not any(each["weight"] and each["name"] not in _LOWERING for each in penalties):
        reasons.append("training.rate_penalty.weight=0: nothing in the loss asks a silent neuron to fire")
    return reasons


def corrected_variant(recipe: str) -> str | None:
    """Return the name of the shipped recipe that ends with ``_corrected`` and is else called the same, or None."""
    name = f"{recipe}_corrected"
    return name if name in shipped_recipes() else None
