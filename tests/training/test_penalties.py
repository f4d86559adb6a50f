"""Penalties on spikes: computed by hand, logged apart, with their gradients' norms."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from neurozoo.core.layer import Firing
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import RecipeError, UserError
from neurozoo.evaluation.health import firing_rates
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.schema import RatePenalty
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import NOT_LOSSES
from neurozoo.training.engine import Engine
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.penalties import penalty
from neurozoo.training.step import Stepper
from neurozoo.training.train import dry_run, train

Recipes = Callable[..., Recipe]
CONVNET = ["data={name: none-here, instead: {name: frames-synthetic, params: {size: 12}}}", "training.epochs=1"]

# 4 steps, 2 samples, 3 neurons: spikes in all steps, in one of sample 0, and in none.
SPIKES = torch.zeros(4, 2, 3)
SPIKES[:, :, 0] = 1
SPIKES[2, 0, 1] = 1
VALID = torch.ones(4, 2, dtype=torch.bool)
VALID[2:, 1] = False


@pytest.mark.parametrize(
    ("form", "masked", "expected"),
    [
        ({"name": "squared-bounds"}, False, 0.5**2 + 0.02**2),
        ({"name": "bounds", "low": 0.01, "high": 0.5, "weight": 0.5}, False, 0.5 * (0.5 + 0.01)),
        ({"name": "target", "rate": 0.01}, False, 0.99**2 + 0.115**2 + 0.01**2),
        ({"name": "target", "rate": 0.01, "over": "mean"}, False, (0.99**2 + 0.115**2 + 0.01**2) / 3),
        ({"name": "total", "samples": "sum", "weight": 2e-6}, False, 2e-6 * 9),
        ({"name": "total"}, False, 4.5),
        ({"name": "total-squared", "samples": "sum", "over": "mean"}, False, (64 + 1) / 3),
        ({"name": "target", "rate": 0.0}, True, 1 + (1 / 6) ** 2),
        ({"name": "total", "samples": "sum"}, True, 7),
        ({"name": "total"}, True, 3.5),
    ],
)
def test_by_hand(form: dict[str, Any], masked: bool, expected: float) -> None:
    firing = Firing(SPIKES, SPIKES, 1.0, VALID if masked else None)
    chosen = RatePenalty(**({"weight": 1.0} | form))
    assert float(penalty(chosen, {"a": firing_rates(firing)}, {"a": firing})) == pytest.approx(expected)


def test_a_mean_is_over_all_neurons_of_the_layers_named() -> None:
    firings = {"a": Firing(SPIKES, SPIKES, 1.0), "b": Firing(SPIKES[..., :1], SPIKES[..., :1], 1.0)}
    rates = {name: firing_rates(firing) for name, firing in firings.items()}
    chosen = RatePenalty(name="target", rate=0.0, weight=1.0, over="mean")
    assert float(penalty(chosen, rates, firings)) == pytest.approx((1 + 1 / 64 + 1) / 4)
    only = chosen.model_copy(update={"layers": ("b",)})
    assert float(penalty(only, rates, firings)) == pytest.approx(1.0)


TWO = "[{name: total, weight: 2.0e-6, samples: sum}, {name: total-squared, weight: 2.0e-6, over: mean}, {name: total}]"


def test_each_is_logged_and_the_loss_is_their_sum(tmp_path: Path, recipe: Recipes) -> None:
    checked = recipe("training.epochs=1", f"training.penalties={TWO}")
    train(checked, out=tmp_path / "run")
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["train"]
    assert {"loss", "rate_penalty", "penalty_total", "penalty_total-squared"} <= set(record)
    assert record["penalty_total"] > 0
    assert "penalty_total_2" not in record  # its weight is 0
    model = build_model(checked, expected_problem(checked)[0])
    batch = made_up(model.problem.signals, model.problem.task, 6, 0)
    engine, losses = Engine(torch.device("cpu")), []
    engine.backward = losses.append  # type: ignore[method-assign]
    with closing(Stepper(model.train(), make_optimizer(checked, model), checked, engine)) as stepper:
        values = stepper.add(batch)
    terms = [float(value) for name, value in values.items() if name not in NOT_LOSSES]
    assert float(losses[0].detach()) == pytest.approx(sum(terms), rel=1e-6)


def test_the_norm_of_each_gradient(recipe: Recipes) -> None:
    """A penalty without a gradient, as published for SpyTorch's Braille, is seen in a dry run."""
    both = ", ".join(
        f"{{name: total, weight: 1.0e-3, over: mean, gradient: {gradient}}}" for gradient in ("false", "true")
    )
    lines = [*CONVNET, f"training.penalties=[{both}]"]
    shown = dry_run(load_recipe("spiking_convnet", lines, registry=default_registry()))
    assert shown["penalty_total"] == pytest.approx(shown["penalty_total_1"])
    assert shown["penalty_total"] > 0
    assert shown["gradient_norm_penalty_total"] == 0
    assert shown["gradient_norm_penalty_total_1"] > 0
    assert shown["gradient_norm_loss"] > 0
    assert not any(name.startswith("gradient") for name in dry_run(recipe("training.rate_penalty.weight=0")))


def test_a_layer_that_is_not_there_is_refused(recipe: Recipes) -> None:
    with pytest.raises(
        UserError, match=r"penalty_total\): the model has no spiking layer called hidden; there are: .+"
    ):
        dry_run(recipe("training.penalties=[{name: total, weight: 1, layers: [hidden]}]"))


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("{name: target, weight: 1}", "target needs the rate wanted"),
        ("{name: bounds, rate: 0.1}", "only target has one"),
        ("{name: bounds, samples: sum}", "bounds is of rates"),
    ],
)
def test_what_does_not_go_together(chosen: str, said: str, recipe: Recipes) -> None:
    with pytest.raises(RecipeError, match=said):
        recipe(f"training.rate_penalty={chosen}")
    with pytest.raises(RecipeError, match=said):
        recipe(f"training.penalties=[{chosen}]")
