"""Ablations: a recipe against its own variants, over several seeds, with paired intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.errors import RecipeError, UserError
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.json_files import write_json
from neurozoo.runs.run import Run
from neurozoo.studies.baseline import Baseline, answers, baselines
from neurozoo.studies.costs import Cost, measure_cost
from neurozoo.studies.intervals import (
    Estimate,
    Interval,
    Scores,
    defined,
    paired_difference,
    resampled_difference,
    student_interval,
)
from neurozoo.studies.launchers.launcher import Launcher
from neurozoo.studies.parallel_runs import Progress, RecipeSource, check_no_run, described, train_study

__all__ = ["FULL", "LESION", "Ablation", "BaselineRow", "ablate"]

FULL = "full"
"""Name of the unchanged recipe, which the variants are compared with."""

LESION = "lesion"
"""Column of the lesion effect of permuted spikes on test, next to the task's headline metrics."""

SHUFFLE = 0
"""Seed of the orders in which positions are shuffled at test."""


@dataclass(frozen=True)
class BaselineRow:
    """A baseline compared with the full recipe.

    Attributes:
        name: Of the baseline.
        strength: Inverse regularisation strength C, chosen on valid.
        metrics: On test.
        differences: By score, baseline minus the full recipe's mean over seeds, with an interval over
            resampled test samples.
    """

    name: str
    strength: float
    metrics: dict[str, float]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class Ablation:
    """The result of an ablation.

    Attributes:
        recipe: Its name.
        description: Its one line.
        synthetic: Whether the data is made up.
        data: Where the data comes from, its splits, task and checksum.
        seeds: The seeds each variant was trained with.
        overrides: Changes to every variant.
        variants: Overrides of each variant; none for the full recipe.
        values: By variant and column, one number a seed.
        means: By variant and column, over the seeds.
        differences: By variant and column, variant minus full, paired by seed.
        baselines: Linear models on the same data.
        minutes: Sum of the training times.
        task: Name of the task.
        titles: Of each compared metric, in order of the columns.
        definitions: Of each compared metric, in one sentence.
        better: Whether higher or lower values of each compared metric are better.
        baseline: Kind of the baselines, such as ``logistic regression``.
        folder: Of the runs and of ``ablation.json``, which holds all but this.
        shuffled: By variant and metric, on test with the valid positions of each sample in another order, one number a
            seed; empty if that was not asked for.
        costs: By variant, of its first seed's model; empty if that was not asked for.
    """

    recipe: str
    description: str
    synthetic: bool
    data: dict[str, Any]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    variants: dict[str, tuple[str, ...]]
    values: dict[str, dict[str, list[float]]]
    means: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]
    baselines: list[BaselineRow]
    minutes: float
    task: str
    titles: dict[str, str]
    definitions: dict[str, str]
    better: dict[str, str]
    baseline: str
    folder: str
    shuffled: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what is compared: the metrics, and the lesion effect."""
        return (*self.titles, LESION)


def ablate(
    recipe: RecipeSource,
    overrides: Sequence[str] = (),
    *,
    seeds: int,
    out: Path | None = None,
    jobs: int | None = None,
    only: Sequence[str] = (),
    time: bool = False,
    on_progress: Progress | None = None,
    launcher: str | Launcher = "local",
) -> Ablation:
    """Train a recipe and each of its ``ablations`` with the same seeds, and compare them.

    Every training is a run folder ``out/VARIANT/SEED``; a finished one of the same recipe is
    used again and an unfinished one resumed, so that an interrupted ablation continues where it stopped.

    Args:
        recipe: A recipe's file or name, a checked recipe, or the content of a file as a dictionary; with a section
            ``ablations``.
        overrides: Changed for all variants.
        seeds: How many; they are 1, 2, ...
        out: The folder for the runs and ``ablation.json``; by default ``runs/ablate-RECIPE``, with a number if runs of
            another recipe or data are in it.
        jobs: Trainings at a time, each on one thread; by default one, on a cluster all of them.
        only: Variants to train; all by default, and ``full`` for none but the unchanged recipe.
        time: Whether to measure each model on test with time shuffled as well, and what it costs.
        on_progress: Called after each training with its name, how many are done and of how many.
        launcher: Where they are trained, see :func:`neurozoo.studies.seeds.train_seeds`.

    Raises:
        UserError: The recipe has no ablations, or not those named; or as training.
    """
    registry, where = default_registry(), Launcher.of(launcher)
    base = load_recipe(recipe, overrides, registry=registry)
    unknown = sorted(set(only) - {FULL, *base.ablations})
    if unknown or not base.ablations:
        there = ", ".join(base.ablations) or "none; add a section `ablations: {name: [key=value]}`"
        raise UserError(f"{base.name} has no ablation {', '.join(unknown) or 'at all'}; there are: {there}")
    variants = {FULL: (), **{name: lines for name, lines in base.ablations.items() if not only or name in only}}
    problems: list[str] = []
    for name, lines in variants.items():  # all of them before any is trained
        try:
            load_recipe(recipe, (*overrides, *lines), registry=registry)
        except RecipeError as error:
            problems += [f"ablations.{name}: {problem}" for problem in error.problems]
    if problems:
        raise RecipeError(*problems)
    if out is not None:
        check_no_run(out)
    experiment = open_experiment(base)
    view, task = experiment.view, experiment.problem.task
    simple = baselines(view, task)
    numbers = tuple(range(1, seeds + 1))
    runs = {
        f"{name}/{seed}": (f"{name}, seed {seed}", (*overrides, *lines, f"seed={seed}"))
        for seed in numbers
        for name, lines in variants.items()
    }
    default = Path("runs") / f"ablate-{base.name[:100]}"
    at_a_time = where.at_a_time(jobs, len(runs))
    out, trained = train_study(recipe, runs, out, default, at_a_time, view.description.checksum, on_progress, where)
    summaries = dict(zip(runs, trained, strict=True))
    titles = {metric.name: metric.title for metric in task.metrics if metric.name in task.headline}
    columns = (*titles, LESION)
    values = {
        variant: {column: [_column(summaries[f"{variant}/{seed}"], column) for seed in numbers] for column in columns}
        for variant in variants
    }
    folders = {variant: [out / variant / str(seed) for seed in numbers] for variant in variants}
    shuffled: dict[str, dict[str, list[float]]] = {}
    if time:
        for variant, places in folders.items():
            measured = [evaluate_run(place, shuffle_steps=SHUFFLE)["metrics"]["test"] for place in places]
            shuffled[variant] = {name: [defined(each[name]) for each in measured] for name in titles}
    found = Ablation(
        **described(base, trained),
        seeds=numbers,
        overrides=tuple(overrides),
        variants=variants,
        values=values,
        means={v: {c: student_interval(np.array(values[v][c])) for c in columns} for v in variants},
        differences={
            v: {c: paired_difference(values[v][c], values[FULL][c]) for c in columns} for v in variants if v != FULL
        },
        baselines=[_compared(each, view, task, tuple(titles), folders[FULL]) for each in simple],
        task=task.name,
        titles=titles,
        definitions={name: task.definitions[name] for name in titles},
        better={name: task.better(name) for name in titles},
        baseline=task.baseline_name,
        folder=str(out),
        shuffled=shuffled,
        costs={variant: measure_cost(places[0]) for variant, places in folders.items()} if time else {},
    )
    write_json(out / "ablation.json", {key: value for key, value in asdict(found).items() if key != "folder"})
    return found


def _column(summary: Mapping[str, Any], column: str) -> float:
    if column == LESION:  # a model without spikes has no lesion effect
        return defined(summary["lesion"].get("permuted", {}).get("test"))
    return defined(summary["metrics"]["test"][column])


def _compared(
    baseline: Baseline, view: DataView, task: Task, names: Sequence[str], runs: Sequence[Path]
) -> BaselineRow:
    """Return a baseline with its differences from the runs."""
    test = view.split("test")
    target, rows = answers(view, "test")

    def scores(predicted: NDArray[Any], decision: Decision) -> Scores:
        return lambda places: task.measure(target[places], predicted[places], decision, names)

    theirs = []
    for run in runs:
        tensors, _ = read_tensors(run / "predictions" / "test.safetensors")
        summary = Run(run).read_json("summary.json")
        decision = summary.get("decision", summary.get("decision_threshold"))
        theirs.append(scores(tensors["predicted" if "predicted" in tensors else "probabilities"].numpy(), decision))
    # A segment's id is VIDEO[SEGMENT].
    groups = [test.ids[row].partition("[")[0] for row in rows]
    differences = resampled_difference(scores(baseline.predicted, baseline.decision), theirs, groups)
    return BaselineRow(baseline.name, baseline.strength, baseline.metrics, differences)
