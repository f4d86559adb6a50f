"""One trained model on test: once, after valid has chosen; with corrupted samples, and without its own spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurozoo.core.recording import frozen_statistics
from neurozoo.core.task import Decision, Task
from neurozoo.errors import RunError
from neurozoo.evaluation.health import lesion_predictions
from neurozoo.evaluation.predicting import predict_split
from neurozoo.files.json_text import read_json
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.runs.json_files import write_json
from neurozoo.runs.run import Run
from neurozoo.studies.arena.choosing import ONE, Trial, choose, scores_of
from neurozoo.studies.arena.corruption import corrupted, corruptions_of
from neurozoo.studies.arena.description import Arena, RowEntry
from neurozoo.studies.costs import measure_cost

__all__ = ["FIRST", "identity_of", "measure_run", "read_measured", "read_predictions", "run_folder"]

SCHEMA = 1

FIRST = 1
"""The seed whose model is timed and counted."""

UNDEFINED = float("nan")


def run_folder(out: Path, row: RowEntry, seed: int) -> Path:
    """Return the run folder of a row's seed."""
    return out / "runs" / row.slug / str(seed)


def _files(out: Path, row: RowEntry, seed: int) -> tuple[Path, Path]:
    """Return the files of numbers and of predictions of a row's seed."""
    folder = out / "measured" / row.slug
    return folder / f"{seed}.json", folder / f"{seed}.safetensors"


def identity_of(arena: Arena, row: RowEntry, run: Path) -> dict[str, Any]:
    """Return what the numbers of a run follow from.

    Raises:
        RunError: The run is not finished.
    """
    summary = Run(run).read_json("summary.json")
    return {
        "schema": SCHEMA,
        "recipe": summary["recipe_digest"],
        "data": summary["data"]["checksum"],
        "metric": arena.file.metric,
        "published": row.threshold,
        "corruptions": arena.file.corruptions.model_dump(mode="json"),
    }


def read_measured(arena: Arena, out: Path, row: RowEntry, seed: int) -> dict[str, Any] | None:
    """Return the numbers of a run if they are there and of the same setting, else None."""
    numbers, predictions = _files(out, row, seed)
    run = run_folder(out, row, seed)
    if not (numbers.is_file() and predictions.is_file() and (run / "summary.json").is_file()):
        return None
    found = read_json(numbers, error=RunError)
    same = isinstance(found, dict) and found.get("identity") == identity_of(arena, row, run)
    return found if same else None


def measure_run(arena: Arena, out: Path, row: RowEntry, seed: int, signals: Sequence[str]) -> dict[str, Any]:
    """Choose by valid, open test once, and write what is found; ``signals`` are all that the arena's rows see.

    Raises:
        NeurozooError: The run cannot be used.
    """
    folder = run_folder(out, row, seed)
    summary = Run(folder).read_json("summary.json")
    chosen = choose(Trial.of(folder, test=False), arena.file.metric, row.threshold)
    trial = Trial.of(folder, test=True)
    trial.load(chosen.epoch)
    made = trial.predict("test")
    task, decision = trial.task, chosen.decisions[ONE]
    found = {
        "identity": identity_of(arena, row, folder),
        "epoch": chosen.epoch,
        "epochs": summary["epochs"],
        "decisions": chosen.decisions,
        "valid": scores_of(task, chosen.target, chosen.valid, decision),
        "test": _tested(task, made.target, made.predicted, chosen.decisions),
        "corrupted": _corrupted(arena, trial, seed, decision, signals),
        "lesion": _lesion(trial, made.target, decision),
        "parameters": summary["parameters"],
        "minutes": summary["duration_seconds"] / 60,
        "cost": asdict(measure_cost(folder, split="valid")) if seed == FIRST else None,
    }
    numbers, predictions = _files(out, row, seed)
    numbers.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"valid": chosen.valid, "test": made.predicted, "samples": made.samples}
    write_tensors(predictions, {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}, {"seed": seed})
    write_json(numbers, found)  # last: it says that both are there
    kept: dict[str, Any] = read_json(numbers, error=RunError)  # as a later call reads it
    return kept


def read_predictions(out: Path, row: RowEntry, seed: int) -> NDArray[Any]:
    """Return a run's predictions ``[N, K]`` of test."""
    return read_tensors(_files(out, row, seed)[1])[0]["test"].numpy()


def _tested(
    task: Task, target: NDArray[Any], predicted: NDArray[Any], decisions: Mapping[str, Decision]
) -> dict[str, dict[str, float]]:
    """Return the scores of test by the name of the decision."""
    return {name: scores_of(task, target, predicted, decision) for name, decision in decisions.items()}


def _corrupted(
    arena: Arena, trial: Trial, seed: int, decision: Decision, signals: Sequence[str]
) -> dict[str, dict[str, float]]:
    found = {}
    for each in corruptions_of(arena.file.corruptions, signals):
        with frozen_statistics(trial.model):
            made = predict_split(trial.model, corrupted(trial.view, "test", each, seed, signals), device=trial.device)
        found[each.title] = _finite_scores(trial.task, made.target, made.predicted, decision)
    return found


def _lesion(trial: Trial, target: NDArray[Any], decision: Decision) -> dict[str, dict[str, float]]:
    """Return the scores of test with the spikes of other samples, and without any, by kind."""
    made = lesion_predictions(trial.model, trial.view.split("test"), trial.batch_size, trial.device)
    made.pop("intact", None)
    return {kind: _finite_scores(trial.task, target, x.cpu().numpy(), decision) for kind, x in made.items()}


def _finite_scores(task: Task, target: NDArray[Any], predicted: NDArray[Any], decision: Decision) -> dict[str, float]:
    """Return scores, or undefined ones where a model answers with what is no number."""
    if np.isfinite(predicted).all():
        return scores_of(task, target, predicted, decision)
    return {metric.name: UNDEFINED for metric in task.metrics}
