"""The last lines of a training say whether it learned, which layers are silent, why, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neurozoo.cli import main
from neurozoo.recipe.recipe import Recipe
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.reporting.runs.conclusions import conclusion_lines, corrected_variant, error_removed
from neurozoo.reporting.runs.run_contents import read_runs
from neurozoo.runs.checkpoint import read_tensors, write_tensors
from neurozoo.tasks.multiclass import Multiclass
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.regression import Regression

Copied = Callable[..., Path]


def change(run: Path, rates: list[float] | None = None, predicted: float | None = None) -> None:
    """Give a run other firing rates on valid, or a part of its targets as predictions."""
    if rates is not None:
        summary = json.loads((run / "summary.json").read_text())
        for layer, rate in zip(summary["health"]["valid"].values(), rates, strict=False):
            layer["rate"] = rate
        (run / "summary.json").write_text(json.dumps(summary))
    if predicted is not None:
        path = run / "predictions" / "test.safetensors"
        tensors, metadata = read_tensors(path)
        made = predicted * tensors["target"].float() + 0.1
        write_tensors(path, {**tensors, "predicted": made}, metadata)


def test_a_run_that_learned_and_spikes(copied: Copied) -> None:
    run = copied("good")
    change(run, [0.2] * 4, predicted=0.8)
    first, *others = conclusion_lines(run)
    assert first.startswith("mAP on test 1.000; one answer for every sample gets 0.")
    assert others[0] == "next:"
    assert [line.split("  ")[1] for line in others[1:]] == [f"neurozoo report {run}", f"neurozoo profile {run}"]
    (run / "report.html").write_text("")
    assert conclusion_lines(run)[2].split("  ")[1] == f"open {run / 'report.html'}"


def test_silent_layers_are_named_with_the_reason_and_the_corrected_recipe(copied: Copied) -> None:
    run = copied("silent")
    names = list(json.loads((run / "summary.json").read_text())["health"]["valid"])
    change(run, [0.2, 0.0, 0.0009, 0.2], predicted=0.0)
    (run / "run.json").write_text(json.dumps(json.loads((run / "run.json").read_text()) | {"recipe": "smile_mosei"}))
    text = (run / "recipe.yaml").read_text()
    assert "name: fluctuation-driven" in text
    without = "\n".join(line for line in text.splitlines() if "firing_rate" not in line and "batches:" not in line)
    (run / "recipe.yaml").write_text(
        without.replace("fluctuation-driven", "default").replace("weight: 1.0", "weight: 0.0")
    )
    lines = conclusion_lines(run)
    assert lines[0].endswith(": it hardly learned")
    assert lines[1].startswith(f"silent: {names[1]}, {names[2]}; below 0.1% of the steps on valid")
    assert [line.split(":")[1].strip() for line in lines[2:4]] == [
        "training.initialisation.name=default",
        "training.rate_penalty.weight=0",
    ]
    assert lines[5].startswith("  neurozoo train smile_mosei_corrected data.root=")


def test_made_up_data_leads_to_real_data(copied: Copied) -> None:
    run = copied("made-up")
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(data | {"synthetic": True}))
    lines = conclusion_lines(run)
    assert lines[lines.index("a training on real data, without any download:") + 1] == "  neurozoo train fsdd_small"
    assert "fsdd_small" in shipped_recipes()


def test_corrected_variants_are_shipped_recipes() -> None:
    assert corrected_variant("smile_mosei") == "smile_mosei_corrected"
    assert corrected_variant("smile_mosei_corrected") is None


def test_a_run_without_predictions_has_no_verdict(copied: Copied) -> None:
    run = copied("bare")
    for path in (run / "predictions").iterdir():
        path.unlink()
    change(run, [0.2] * 4)
    assert error_removed(read_runs([run])[0]) is None
    assert conclusion_lines(run)[0] == "next:"


@pytest.mark.parametrize(
    ("task", "target", "expected"),
    [
        (Multilabel(["a", "b"]), np.array([[1, 0], [1, 1]]), [1.0, 0.5]),
        (Multiclass(["a", "b", "c"]), np.array([0, 0, 2, 0]), [0.75, 0.0, 0.25]),
        (Regression(["a"]), np.array([[1.0], [4.0]]), [2.5]),
    ],
)
def test_a_constant_answer_is_the_mean_target(task: Any, target: Any, expected: list[float]) -> None:
    made = task.constant(target)
    assert made.shape == (len(target), len(task.outputs))
    assert np.unique(made, axis=0).tolist() == [expected]


def test_train_ends_with_them(
    recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(recipe("training.epochs=1").to_yaml())
    with torch.random.fork_rng():
        assert main(["train", str(path), "--out", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-len(conclusion_lines(tmp_path / "run")) :] == conclusion_lines(tmp_path / "run")
    assert shown[-2].startswith(f"  neurozoo report {tmp_path / 'run'}  ")
