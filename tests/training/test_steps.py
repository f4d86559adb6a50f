"""Steps of the optimiser that take several batches, its kinds, and schedules of the learning rate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from neurozoo.errors import RecipeError
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]
INDEPENDENT = [
    "model.parts.threshold=constant",
    "model.parts.scaling=none",
    "training.rate_penalty.weight=0.0",
    "training.initialisation={name: default}",
    "model.params={context: text, hidden: 10, heads: 5, spiking_inner: 16, dropout: 0.0, context_dropout: 0.0}",
    "model.parts.head.params={dropout: 0.0, classifier_dropout: 0.0}",
    "training.optimizer={name: sgd, lr: 0.05}",
    "training.epochs=1",
]


def test_two_half_batches_are_a_whole_one(tmp_path: Path, recipe: Recipes) -> None:
    """Where nothing is counted over a batch; 24 samples, in the same order for all. A sum is twice the mean."""
    halves = ["training.batch_size=4", "training.accumulate=2"]
    train(recipe(*INDEPENDENT, "training.batch_size=8"), out=tmp_path / "whole")
    train(recipe(*INDEPENDENT, *halves), out=tmp_path / "halves")
    summed = ["training.accumulated=sum", "training.optimizer.lr=0.025"]
    train(recipe(*INDEPENDENT, *halves, *summed), out=tmp_path / "summed")
    train(recipe(*INDEPENDENT, "training.batch_size=4"), out=tmp_path / "other")
    whole, mean, twice, other = (
        read_tensors(tmp_path / name / "checkpoints" / "last.safetensors")[0] for name in NAMES
    )
    torch.testing.assert_close(mean, whole, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(twice, whole, rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(other[name], x, rtol=1e-4, atol=1e-5) for name, x in whole.items())


NAMES = ("whole", "halves", "summed", "other")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ["training.optimizer={name: rmsprop, momentum: 0.9, lr: 0.001}", "training.accumulate=2"],
        ["training.optimizer={name: nadam}", "training.scheduler={name: cosine, warmup: 1}"],
        ["training.optimizer={name: radam}", "training.scheduler={name: step, every: 1, factor: 0.5}"],
        ["training.optimizer={name: sgd, momentum: 0.9}", "task.params={loss: focal, weights: balanced}"],
        [
            "training.optimizer={name: lamb, groups: {norm: {scheduler: {name: cosine, each: step}}}}",
            "training.scheduler={name: one-cycle, each: step, momentum: [0.85, 0.95]}",
        ],
    ],
)
def test_a_resumed_run_has_them_too(
    changes: list[str], tmp_path: Path, recipe: Recipes, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    checked = recipe("training.epochs=2", "training.checkpoint_steps=1", *changes)
    train(checked, out=tmp_path / "whole")
    with interrupted_at(4):
        train(checked, out=tmp_path / "run")
    resume(tmp_path / "run")
    assert Run(tmp_path / "run").last.read_bytes() == Run(tmp_path / "whole").last.read_bytes()


def rates(run: Path) -> list[float]:
    return [json.loads(line)["learning_rate"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("{name: none, warmup: 1}", [0.5, 1, 1, 1]),
        ("{name: step, every: 2, factor: 0.1}", [1, 1, 0.1, 0.1]),
        ("{name: cosine}", [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("{name: cosine, warmup: 2}", [1 / 3, 2 / 3, 1, 0.5]),
        ("{name: cosine, warmup: 2, warmup_from: 0.001, minimum: 0.002}", [0.1, 0.55, 1, 0.6]),
        ("{name: cosine, warmup: 2, from_start: true}", [1 / 3, 2 / 3, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ("{name: cosine, period: 2}", [1, 0.5, 0, 0]),
        ("{name: cosine, period: 2, then: rise}", [1, 0.5, 0, 0.5]),
        ("{name: cosine, period: 2, then: restart}", [1, 0.5, 1, 0.5]),
        ("{name: exponential, factor: 0.5}", [1, 0.5, 0.25, 0.125]),
        ("{name: exponential, minimum: 0.0001}", [1, 10**-0.5, 0.1, 10**-1.5]),
        ("{name: exponential, minimum: 0.0001, period: 2}", [1, 0.1, 0.01, 0.01]),
        ("{name: one-cycle, rise: 0.5}", [0.04, 1, 0.5 + 2e-6, 4e-6]),
        ("{name: exponential, each: step, factor: 0.125}", [0.125, 0.125**2, 0.125**3, 0.125**4]),
    ],
)
def test_the_learning_rate_by_epoch(scheduler: str, expected: list[float], tmp_path: Path, recipe: Recipes) -> None:
    one_step = [] if "each: step" in scheduler else ["training.batch_size=24"]
    checked = recipe("training.epochs=4", f"training.scheduler={scheduler}", "training.optimizer.lr=0.01", *one_step)
    train(checked, out=tmp_path / "run")
    assert rates(tmp_path / "run") == pytest.approx([0.01 * height for height in expected])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.optimizer={name: adam, momentum: 0.9}", "adam has no momentum option"),
        ("training.scheduler={name: plateau, warmup: 3}", "plateau has none"),
        ("training.scheduler={name: plateau, each: step}", "plateau moves after an epoch"),
        ("training.scheduler={name: one-cycle, warmup: 3}", "one-cycle rises for a share"),
        ("training.scheduler={name: cosine, warmup_from: 1.0e-5}", "there is no warm-up"),
        ("training.scheduler={name: step, minimum: 1.0e-5}", "step has none"),
        ("training.scheduler={name: exponential, minimum: 0}", "never reaches 0"),
        ("training.scheduler={name: exponential, period: 5}", "only linear, cosine, and exponential with a minimum"),
        ("training.scheduler={name: cosine, then: restart}", "restart needs cosine with a period"),
        ("training.scheduler={name: cosine, from_start: true}", "only linear and cosine with a warm-up have a choice"),
        ("training.scheduler={name: cosine, momentum: [0.8, 0.9]}", "only one-cycle moves it"),
        ("training.scheduler={name: one-cycle, momentum: [0.9, 0.8]}", "give the low one first"),
        ("training.accumulate=0", "0 is too small; give at least 1"),
    ],
)
def test_what_does_not_go_together(change: str, said: str, recipe: Recipes) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(change)
