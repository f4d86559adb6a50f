"""Measure a trained model again and compare with its published numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.errors import ChangedError, RunError
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.loading import problem_of
from neurozoo.runs.packed import MANIFEST
from neurozoo.runs.trained_folder import Trained, open_trained

__all__ = ["TOLERANCE", "Number", "Verification", "verify_run"]

TOLERANCE = 1e-6
"""Largest accepted difference of a number, in its own unit."""


@dataclass(frozen=True)
class Number:
    """A published number and its value now; None if undefined."""

    split: str
    name: str
    published: float | None
    now: float | None

    def comes_back(self, tolerance: float) -> bool:
        """Whether they agree."""
        if self.published is None or self.now is None:
            return self.published is self.now
        return abs(self.published - self.now) <= tolerance


@dataclass(frozen=True)
class Verification:
    """Published and measured numbers of a run.

    Attributes:
        run: The folder, as it was named.
        backend: The backend of the measurement.
        same_data: Whether the data has the checksum of training, and its shards theirs.
        tolerance: See :data:`TOLERANCE`.
        numbers: All metrics and lesion effects that were published or measured.
    """

    run: str
    backend: str
    same_data: bool
    tolerance: float
    numbers: tuple[Number, ...]

    @property
    def differing(self) -> tuple[Number, ...]:
        """Numbers that do not agree."""
        return tuple(number for number in self.numbers if not number.comes_back(self.tolerance))

    @property
    def verified(self) -> bool:
        """Whether all agree, on the same data."""
        return self.same_data and not self.differing


def verify_run(
    run: Path, *, backend: str | None = None, data_root: str | None = None, tolerance: float = TOLERANCE
) -> Verification:
    """Measure the splits of a finished run or packed model again, and compare with what it published.

    See :func:`~neurozoo.evaluation.evaluate.evaluate_run`.

    Raises:
        ChangedError: It names other outputs than its checkpoint.
        UserError: The run is not finished, or it, its data or its checkpoint cannot be used.
    """
    trained = open_trained(run)
    _check_outputs(trained)
    if not trained.finished:
        raise RunError(f"{run}: published nothing yet; `neurozoo train --resume {run}` brings it to its end")
    summary = trained.summary
    published: Mapping[str, Mapping[str, Any]] = summary["metrics"]
    if not published:
        raise RunError(
            f"{run / ('summary.json' if trained.run else MANIFEST)}: holds no metrics; it cannot be verified"
        )
    has = [split for split in ("valid", "test") if trained.data["splits"].get(split)]
    splits = dict.fromkeys((*published, *(split for split in has if split not in trained.closed)))
    found = {split: evaluate_run(run, split=split, backend=backend, data_root=data_root) for split in splits}
    numbers: list[Number] = []
    for split, now in found.items():
        numbers += _numbers(split, published.get(split, {}), now["metrics"][split])
        numbers += _numbers(split, _lesion(summary, split), _lesion(now, split))
    same_data = all(each["same_data_as_trained"] for each in found.values())
    return Verification(str(run), next(iter(found.values()))["backend"], same_data, tolerance, tuple(numbers))


def _check_outputs(trained: Trained) -> None:
    """Compare the task in ``data.json``, or in the manifest, with the checkpoint's."""
    if not trained.finished:
        return
    packed, path = trained.packed, trained.checkpoint
    known = problem_of(trained.recipe, read_tensors(path, inside=trained.folder)[1], path).task
    where = trained.folder / (MANIFEST if packed else "data.json")
    records: list[Mapping[str, Any]] = [trained.data]
    if packed is not None:
        records.append({"task": packed.task} if packed.task else {"labels": packed.labels})
    for record in records:
        # Without a task it is of schema 1, all of which is multi-label.
        task = record.get("task") or {"name": "multilabel", "per_step": False, "outputs": record.get("labels")}
        outputs = tuple(task["outputs"] or ())
        if (task["name"], task["per_step"], outputs) != (known.name, known.per_step, known.outputs):
            raise ChangedError(
                f"{where}: names the {task['name']} outputs {', '.join(outputs) or 'none'}, and the weights were "
                f"trained for the {known.name} outputs {', '.join(known.outputs)}; copy it again from its source"
            )


def _numbers(split: str, published: Mapping[str, Any], now: Mapping[str, Any]) -> list[Number]:
    names = dict.fromkeys((*published, *now))
    return [Number(split, name, _finite(published.get(name)), _finite(now.get(name))) for name in names]


def _lesion(measured: Mapping[str, Any], split: str) -> dict[str, Any]:
    return {f"lesion effect, {kind}": by_split.get(split) for kind, by_split in measured["lesion"].items()}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
