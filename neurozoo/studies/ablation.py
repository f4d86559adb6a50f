"""Ablations: a recipe against its own variants, over several seeds, with paired intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.core.task import Decision, Task
from neurozoo.data.view import DataView
from neurozoo.errors import RecipeError, UserError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run, write_json
from neurozoo.studies.baseline import Baseline, baselines
from neurozoo.studies.intervals import (
    Estimate,
    Interval,
    Scores,
    defined,
    paired_difference,
    resampled_difference,
    student_interval,
)
from neurozoo.studies.parallel_runs import ONE_THREAD, Training, Trainings

__all__ = ["FULL", "LESION", "Ablation", "BaselineRow", "ablate"]

FULL = "full"
"""Name of the recipe as it stands, which the variants are compared with."""

LESION = "lesion"
"""What is compared as well as the task's headline metrics, on the test split: the lesion effect of permuted spikes."""


@dataclass(frozen=True)
class BaselineRow:
    """A baseline compared with the full recipe.

    Attributes:
        name: What it is.
        strength: Inverse regularisation strength C, chosen on valid.
        metrics: On test.
        differences: By score, baseline minus the full recipe's mean over seeds, with an interval over
            test samples drawn again.
    """

    name: str
    strength: float
    metrics: dict[str, float]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class Ablation:
    """What an ablation found.

    Attributes:
        recipe: Its name.
        description: Its one line.
        synthetic: Whether the data is made up.
        data: Where the data comes from, its splits and checksum.
        seeds: The seeds each variant was trained with.
        overrides: What was changed for every variant.
        variants: For each variant the lines it changes; nothing for the recipe as it stands.
        values: By variant and column, one number a seed.
        means: By variant and column, over the seeds.
        differences: By variant and column, variant minus full, paired by seed.
        baselines: Linear models on the same data; none for a task per step.
        minutes: Sum of the training times.
        task: Name of the task.
        titles: What each metric that is compared is called, in order of the columns.
        definitions: What each of them is, in one sentence.
        better: Whether higher or lower values of each of them are better.
        baseline: What the baselines are, such as ``logistic regression``.
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

    @property
    def columns(self) -> tuple[str, ...]:
        """What is compared: the metrics, and the lesion effect."""
        return (*self.titles, LESION)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def ablate(
    recipe: str | Path,
    overrides: Sequence[str] = (),
    *,
    seeds: int,
    out: Path,
    jobs: int = 1,
    only: Sequence[str] = (),
    told: Callable[[str, int, int], None] | None = None,
) -> Ablation:
    """Train a recipe and each of its ``ablations`` with the same seeds, and compare them.

    Every training is a run folder ``out/VARIANT/SEED``; a finished one of the same recipe is
    used again and an unfinished one resumed, so that an interrupted ablation continues where it stopped.

    Args:
        recipe: A recipe's file or name, with a section ``ablations``.
        overrides: Changed for all variants.
        seeds: How many; they are 1, 2, ...
        out: The folder for the runs and ``ablation.json``.
        jobs: Trainings at a time, each on one thread.
        only: Variants to train; all by default.
        told: Called after each training with its name, how many are done and of how many.

    Raises:
        UserError: The recipe has no ablations, or not those named; or as training.
    """
    registry = default_registry()
    base = load_recipe(recipe, overrides, registry=registry)
    unknown = sorted(set(only) - set(base.ablations))
    if unknown or not base.ablations:
        there = ", ".join(base.ablations) or "none; add a section `ablations: {name: [key=value]}`"
        raise UserError(f"{base.name} has no ablation {', '.join(unknown) or 'at all'}; there are: {there}")
    variants = {FULL: (), **{name: lines for name, lines in base.ablations.items() if not only or name in only}}
    _check_variants(recipe, overrides, variants, registry)
    Run.check_no_run(out)
    experiment = open_experiment(base)
    view, task = experiment.view, experiment.problem.task
    simple = [] if task.per_step else baselines(view, task)
    numbers = tuple(range(1, seeds + 1))
    trainings_of = {
        Training(
            f"{name}, seed {seed}",
            str(recipe),
            (*overrides, *lines, f"seed={seed}", ONE_THREAD),
            out / name / str(seed),
        ): (name, seed)
        for seed in numbers
        for name, lines in variants.items()
    }
    summaries: dict[tuple[str, int], dict[str, Any]] = {}
    with Trainings(jobs, view.description.checksum) as trainings:
        for done, (training, summary) in enumerate(trainings.run(list(trainings_of)), start=1):
            summaries[trainings_of[training]] = summary
            if told is not None:
                told(training.name, done, len(trainings_of))
    rows = [_compared(each, view, task, [out / FULL / str(seed) for seed in numbers]) for each in simple]
    found = _compare(base, task, variants, numbers, overrides, summaries, rows)
    write_json(out / "ablation.json", found.to_dict())
    return found


def _check_variants(
    recipe: str | Path, overrides: Sequence[str], variants: Mapping[str, tuple[str, ...]], registry: Registry
) -> None:
    """Refuse a variant that cannot be trained before any other is."""
    problems: list[str] = []
    for name, lines in variants.items():
        try:
            load_recipe(recipe, (*overrides, *lines), registry=registry)
        except RecipeError as error:
            problems += [f"ablations.{name}: {problem}" for problem in error.problems]
    if problems:
        raise RecipeError(problems)


def _compare(
    recipe: Recipe,
    task: Task,
    variants: Mapping[str, tuple[str, ...]],
    seeds: tuple[int, ...],
    overrides: Sequence[str],
    summaries: Mapping[tuple[str, int], dict[str, Any]],
    rows: list[BaselineRow],
) -> Ablation:
    scores = _scores(task)
    columns = (*scores, LESION)
    values = {
        variant: {column: [_column(summaries[variant, seed], column) for seed in seeds] for column in columns}
        for variant in variants
    }
    first = summaries[FULL, seeds[0]]
    return Ablation(
        recipe=recipe.name,
        description=recipe.description,
        synthetic=first["synthetic"],
        data={key: first["data"][key] for key in ("origin", "splits", "checksum", "task")},
        seeds=seeds,
        overrides=tuple(overrides),
        variants=dict(variants),
        values=values,
        means={v: {c: student_interval(np.array(values[v][c])) for c in columns} for v in variants},
        differences={
            v: {c: paired_difference(values[v][c], values[FULL][c]) for c in columns} for v in variants if v != FULL
        },
        baselines=rows,
        minutes=sum(summary["duration_seconds"] for summary in summaries.values()) / 60,
        task=task.name,
        titles={metric.name: metric.title for metric in task.metrics if metric.name in scores},
        definitions={name: task.definitions[name] for name in scores},
        better={name: task.better(name) for name in scores},
        baseline=task.baseline_name,
    )


def _scores(task: Task) -> tuple[str, ...]:
    """The headline metrics, in the order of the task's definitions."""
    return tuple(name for name in task.definitions if name in task.headline)


def _column(summary: Mapping[str, Any], column: str) -> float:
    if column == LESION:  # a model without anything but spikes has no lesion effect
        return defined(summary["lesion"].get("permuted", {}).get("test"))
    return defined(summary["metrics"]["test"][column])


def _compared(baseline: Baseline, view: DataView, task: Task, runs: Sequence[Path]) -> BaselineRow:
    """A baseline, and how far it is from the runs."""
    test, names = view.split("test"), _scores(task)
    target = test.target.numpy()

    def scores(predicted: NDArray[Any], decision: Decision) -> Scores:
        return lambda places: task.measure(target[places], predicted[places], decision, names)

    theirs = []
    for run in runs:
        tensors, _ = read_tensors(run / "predictions" / "test.safetensors")
        summary = Run(run).read_json("summary.json")
        decision = summary.get("decision", summary.get("decision_threshold"))
        theirs.append(scores(tensors["predicted" if "predicted" in tensors else "probabilities"].numpy(), decision))
    # A segment's id is VIDEO[SEGMENT].
    groups = [sample.partition("[")[0] for sample in test.ids]
    differences = resampled_difference(scores(baseline.predicted, baseline.decision), theirs, groups)
    return BaselineRow(baseline.name, baseline.strength, baseline.metrics, differences)
