"""Ablations: a recipe against its own variants, over several seeds, with paired intervals."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurozoo.assemble import open_data
from neurozoo.baseline import logistic_regression
from neurozoo.errors import RunError, UserError
from neurozoo.recipe import load_recipe
from neurozoo.registry import default_registry
from neurozoo.training.fit import train
from neurozoo.training.run import Run

__all__ = ["COLUMNS", "FULL", "Ablation", "Estimate", "ablate", "paired_difference"]

FULL = "full"
"""Name of the recipe as it stands, which the variants are compared with."""

COLUMNS = ("accuracy", "micro_f1", "macro_f1", "map", "lesion")
"""What is compared, on the test split: metrics, and the lesion effect of permuted spikes."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the half-width of its 95 % interval (Student's t); dimensionless."""

    mean: float
    half_width: float


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
        baseline: Logistic regression on the same data, by column.
        minutes: Sum of the training times.
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
    baseline: dict[str, Any]
    minutes: float

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
    used again, so that an interrupted ablation goes on where it stopped.

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
    base = load_recipe(recipe, overrides, registry=default_registry())
    unknown = sorted(set(only) - set(base.ablations))
    if unknown or not base.ablations:
        there = ", ".join(base.ablations) or "none; add a section `ablations: {name: [key=value]}`"
        raise UserError(f"{base.name} has no ablation {', '.join(unknown) or 'at all'}; there are: {there}")
    variants = {FULL: (), **{name: lines for name, lines in base.ablations.items() if not only or name in only}}
    numbers = tuple(range(1, seeds + 1))
    tasks = [
        (name, seed, str(recipe), (*overrides, *lines, f"seed={seed}", "training.threads=1"), out / name / str(seed))
        for seed in numbers
        for name, lines in variants.items()
    ]
    summaries: dict[tuple[str, int], dict[str, Any]] = {}
    # Fresh processes: torch's threads do not survive a fork.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_train_one, *task[2:]): task[:2] for task in tasks}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                name, seed = futures[future]
                summaries[name, seed] = future.result()
                if told is not None:
                    told(f"{name}, seed {seed}", done, len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    found = _compare(base.name, base.description, variants, numbers, overrides, summaries)
    found = Ablation(**{**found.__dict__, "baseline": logistic_regression(open_data(base), base.evaluation.decision)})
    out.mkdir(parents=True, exist_ok=True)
    (out / "ablation.json").write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    return found


def _train_one(source: str, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    recipe = load_recipe(source, overrides, registry=default_registry())
    if folder.exists():
        try:
            summary = Run(folder).read_json("summary.json")
        except RunError as error:
            raise RunError(f"{error}; remove {folder} to train it anew") from None
        if summary["recipe_digest"] != recipe.digest:
            raise RunError(f"{folder}: made with another recipe; give another --out, or remove it")
        return summary
    return train(recipe, folder)


def _compare(
    name: str,
    description: str,
    variants: Mapping[str, tuple[str, ...]],
    seeds: tuple[int, ...],
    overrides: Sequence[str],
    summaries: Mapping[tuple[str, int], dict[str, Any]],
) -> Ablation:
    values = {
        variant: {column: [_column(summaries[variant, seed], column) for seed in seeds] for column in COLUMNS}
        for variant in variants
    }
    first = summaries[FULL, seeds[0]]
    return Ablation(
        recipe=name,
        description=description,
        synthetic=first["synthetic"],
        data={key: first["data"][key] for key in ("origin", "splits", "checksum", "labels")},
        seeds=seeds,
        overrides=tuple(overrides),
        variants=dict(variants),
        values=values,
        means={v: {c: _estimate(np.array(values[v][c])) for c in COLUMNS} for v in variants},
        differences={
            v: {c: paired_difference(values[v][c], values[FULL][c]) for c in COLUMNS} for v in variants if v != FULL
        },
        baseline={},
        minutes=sum(summary["duration_seconds"] for summary in summaries.values()) / 60,
    )


def _column(summary: Mapping[str, Any], column: str) -> float:
    split = "test" if "test" in summary["metrics"] else "valid"
    return float(summary["lesion"]["permuted"][split] if column == "lesion" else summary["metrics"][split][column])


def paired_difference(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Mean of ``values - reference``, paired by seed, with its 95 % interval (Student's t)."""
    return _estimate(np.array(values) - np.array(reference))


def _estimate(sample: NDArray[np.float64]) -> Estimate:
    from scipy.stats import t

    n = len(sample)
    if n < 2:
        return Estimate(float(sample.mean()), float("nan"))
    return Estimate(float(sample.mean()), float(t.ppf(0.975, n - 1) * sample.std(ddof=1) / np.sqrt(n)))
