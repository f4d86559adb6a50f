"""Event files for TensorBoard, read back by TensorBoard's own reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.run import Run
from neurozoo.training import run_folder
from neurozoo.training.train import resume, train

pytest.importorskip("tensorboard")

Recipes = Callable[..., Recipe]


def events(run: Path) -> Any:
    """All events of a run folder, orphans included: what is there twice is seen twice."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    return found.Reload()


def scalars(run: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events(run).Scalars(name)]


def test_every_epochs_numbers_the_recipe_and_the_end_are_there(recipe: Recipes, tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = train(recipe("training.loggers=[tensorboard]"), out=run)
    records = Run(run).records()
    for name, values in {
        "train/loss": [record["train"]["loss"] for record in records],
        "valid/map": [record["valid"]["map"] for record in records],
        "threshold/mean": [record["threshold"]["mean"] for record in records],
        "health/branches.audio.first.rate": [record["health"]["branches.audio.first"]["rate"] for record in records],
    }.items():
        assert scalars(run, name) == [(step, pytest.approx(value)) for step, value in enumerate(values, 1)], name
    best = summary["best_epoch"]
    assert scalars(run, "final_test/map") == [(best, pytest.approx(summary["metrics"]["test"]["map"]))]
    (text,) = events(run).Tensors("recipe/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert json.loads(shown)["training"]["loggers"] == [{"name": "tensorboard", "params": {}}]


def test_a_run_that_goes_on_has_each_step_once(
    recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls = tmp_path / "run", []
    append = run_folder.append_json

    def stopped(path: Path, record: Any, **options: Any) -> None:
        append(path, record, **options)
        calls.append(1)
        if len(calls) == 2:  # the line is written, and the logger was not told
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "append_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe("training.loggers=[tensorboard]", "training.epochs=3"), out=run)
    assert [step for step, _ in scalars(run, "valid/map")] == [1]
    resume(run)
    losses = [(step, pytest.approx(record["valid"]["loss"])) for step, record in enumerate(Run(run).records(), 1)]
    assert len(losses) == 3
    assert scalars(run, "valid/loss") == losses
