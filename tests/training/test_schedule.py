"""The learning rates are those of torch's schedulers, where torch has them, and move in each group by its own rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from neurozoo.errors import RecipeError
from neurozoo.recipe.recipe import Recipe, _digest, load_recipe
from neurozoo.recipe.schema import Scheduler, TrainingSection
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.training.schedule import Schedule, rate_at
from neurozoo.training.train import train

LR = torch.optim.lr_scheduler


def optimizer(**options: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **({"lr": 0.5} | options))


def schedule(
    made: torch.optim.Optimizer, epochs: int, steps: int = 1, better: Any = "lower", **options: Any
) -> Schedule:
    training = TrainingSection(epochs=epochs, scheduler=Scheduler(**options))
    return Schedule(SimpleNamespace(training=training), made, steps, better)  # type: ignore[arg-type]


@given(epochs=st.integers(2, 40), steps=st.integers(1, 5), rise=st.floats(0.2, 0.8))
def test_one_cycle_by_step_is_torch_s(epochs: int, steps: int, rise: float) -> None:
    assume(rise * epochs * steps > 1.01)  # below, torch begins past the full rate
    one, other = optimizer(), optimizer()
    ours = schedule(one, epochs, steps, name="one-cycle", each="step", rise=rise, momentum=(0.85, 0.95))
    theirs = LR.OneCycleLR(other, 0.5, total_steps=epochs * steps, pct_start=rise)
    for n in range(epochs * steps):
        (mine,), (his,) = one.param_groups, other.param_groups
        assert mine["lr"] == pytest.approx(his["lr"], rel=1e-9, abs=1e-15)
        assert mine["betas"] == pytest.approx(his["betas"], rel=1e-9)
        if n + 1 < epochs * steps:
            one.step(), other.step(), ours.after_step(), theirs.step()


@pytest.mark.parametrize("steps", [1, 3])
def test_linear_with_a_warm_up_is_bert_s(steps: int) -> None:
    """The rate of step n is that of a share x = n / steps: x / 0.1, then (1 - x) / 0.9."""
    made = optimizer()
    ours = schedule(made, 20, steps, name="linear", each="step", warmup=2, warmup_from=0.0)
    for n in range(20 * steps):
        x = n / (20 * steps)
        assert made.param_groups[0]["lr"] == pytest.approx(0.5 * (x / 0.1 if x < 0.1 else (1 - x) / 0.9), abs=1e-12)
        made.step(), ours.after_step()
    assert made.param_groups[0]["lr"] == 0


@given(period=st.integers(1, 9), minimum=st.floats(0, 0.4), epochs=st.integers(1, 40))
def test_cosine_is_torch_s(period: int, minimum: float, epochs: int) -> None:
    for then, made in (
        ("rise", lambda each: LR.CosineAnnealingLR(each, period, minimum)),
        ("restart", lambda each: LR.CosineAnnealingWarmRestarts(each, period, eta_min=minimum)),
    ):
        one, other = optimizer(), optimizer()
        ours, theirs = schedule(one, epochs, name="cosine", period=period, minimum=minimum, then=then), made(other)
        for _ in range(epochs):
            assert one.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"], rel=1e-6, abs=1e-9)
            one.step(), other.step(), ours.after_epoch(1.0), theirs.step()


@given(
    values=st.lists(st.floats(-10, 10), min_size=1, max_size=30),
    factor=st.sampled_from([0.1, 0.7]),
    patience=st.integers(0, 3),
    better=st.sampled_from(["lower", "higher"]),
)
def test_the_plateau_is_torch_s(values: list[float], factor: float, patience: int, better: str) -> None:
    one, other = optimizer(), optimizer()
    ours = schedule(one, 30, better=better, name="plateau", factor=factor, patience=patience, minimum=1e-3)
    mode = "min" if better == "lower" else "max"
    theirs = LR.ReduceLROnPlateau(other, mode, factor, patience, min_lr=1e-3)
    for value in values:
        ours.after_epoch(value)
        theirs.step(value)
        assert one.param_groups[0]["lr"] == other.param_groups[0]["lr"]


@given(
    name=st.sampled_from(["none", "step", "linear", "cosine", "exponential", "one-cycle"]),
    each=st.sampled_from(["epoch", "step"]),
    epochs=st.integers(1, 30),
    warmup=st.integers(0, 10),
    count=st.integers(0, 200),
)
def test_a_rate_is_between_0_and_the_full_one(name: Any, each: Any, epochs: int, warmup: int, count: int) -> None:
    chosen = Scheduler(name=name, each=each, warmup=0 if name == "one-cycle" else warmup)
    assert 0 <= rate_at(chosen, 0.5, count, 1 if each == "epoch" else 7, epochs) <= 0.5 * (1 + 1e-12)


def test_a_step_counts_a_part_of_an_epoch() -> None:
    chosen = Scheduler(name="cosine", each="step", warmup=2, minimum=0.1)
    by_step = [rate_at(chosen, 0.5, 4 * epoch, 4, 10) for epoch in range(2, 10)]
    assert by_step == [rate_at(chosen, 0.5, epoch, 1, 10) for epoch in range(2, 10)]


def test_each_group_moves_by_its_own_schedule(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    """DCLS's training: the norms without decay, one group with a rate and a schedule of its own."""
    groups = "{norm: {weight_decay: 0.0}, bias: {lr: 0.1, weight_decay: 0.0, scheduler: {name: cosine}}}"
    checked = recipe(
        "training.epochs=4",
        f"training.optimizer={{lr: 0.005, weight_decay: 1.0e-5, groups: {groups}}}",
        "training.scheduler={name: one-cycle, rise: 0.5, momentum: [0.85, 0.95]}",
    )
    train(checked, out=tmp_path / "run")
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    cycle = [0.0002, 0.005, 0.0025 + 1e-8, 2e-8]
    assert [record["learning_rate"] for record in records] == pytest.approx(cycle)
    assert [record["learning_rates"]["norm"] for record in records] == pytest.approx(cycle)
    wave = [0.1, 0.0853553, 0.05, 0.0146447]
    assert [record["learning_rates"]["bias"] for record in records] == pytest.approx(wave, rel=1e-5)


def test_the_plateau_watches_a_metric(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    """A metric that stands still lets the rate fall; the loss, which improves, would not."""
    scheduler = "training.scheduler={name: plateau, factor: 0.5, patience: 0, metric: METRIC}"
    found = {}
    for metric in ("loss", "micro_f1"):
        run = tmp_path / metric
        train(recipe("training.epochs=3", "task.params.decision=fixed", scheduler.replace("METRIC", metric)), out=run)
        found[metric] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for metric, records in found.items():
        rate, best = 1e-3, None
        for record in records:
            assert record["learning_rate"] == pytest.approx(rate)
            value = record["valid"][metric]
            improved = best is None or (value < best * (1 - 1e-4) if metric == "loss" else value > best * (1 + 1e-4))
            best, rate = (value, rate) if improved else (best, rate / 2)


def test_an_unknown_metric_is_refused(recipe: Callable[..., Recipe]) -> None:
    plateau = recipe("training.scheduler={name: plateau, metric: luck}")
    with pytest.raises(RecipeError, match=r"training\.scheduler\.metric: found the text 'luck'"):
        load_recipe(plateau, registry=default_registry())


@pytest.mark.parametrize("name", ["none", "plateau", "step", "cosine"])
def test_it_continues_from_the_state_of_torch_s_schedulers(name: Any) -> None:
    """Earlier versions kept those."""
    before, now, whole = optimizer(), optimizer(), optimizer()
    full = schedule(whole, 8, name=name, every=2, patience=1)
    options = {"factor": 0.1, "patience": 1}
    losses = [1.0, 2.0, 0.5, 3.0, 3.0, 3.0, 3.0]
    theirs: Any = (
        LR.ReduceLROnPlateau(before, **options)
        if name == "plateau"
        else LR.LambdaLR(before, lambda epoch: rate_at(Scheduler(name=name, every=2), 1.0, epoch, 1, 8))
    )
    for n, loss in enumerate(losses):
        if n == 4:
            continued = schedule(now, 8, name=name, every=2, patience=1)
            now.load_state_dict(before.state_dict())
            continued.load_state_dict(json.loads(json.dumps(theirs.state_dict())))
        full.after_epoch(loss)
        if n < 4:
            before.step()
            theirs.step(*([loss] if name == "plateau" else []))
            assert before.param_groups[0]["lr"] == whole.param_groups[0]["lr"]
        else:
            continued.after_epoch(loss)
            assert now.param_groups[0]["lr"] == whole.param_groups[0]["lr"]


def test_a_run_s_recipe_that_lacks_new_keys_is_still_its_own(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    """An earlier version recorded the digest of its own resolved recipe, which lacks what was added since."""
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    run = Run(tmp_path / "run")
    content = run.recipe().content
    for section, keys in {"optimizer": ("betas", "eps", "groups", "nesterov"), "scheduler": ("each", "metric")}.items():
        for key in keys:
            del content["training"][section][key]
    (tmp_path / "old.yaml").write_text(json.dumps(content))
    old = load_recipe(tmp_path / "old.yaml")
    assert old.digest == run.recipe().digest
    assert old.is_of(_digest(content))
    assert load_recipe(tmp_path / "old.yaml", registry=default_registry()).is_of(_digest(content))
    assert not load_recipe(tmp_path / "old.yaml", ["seed=4"]).is_of(_digest(content))
