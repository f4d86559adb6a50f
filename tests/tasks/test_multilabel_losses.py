"""Losses by name: equal to their authors' code, checked in a recipe, minimised by a training and reported by none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from neurozoo.core.loss import Loss
from neurozoo.errors import DataError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe, RecipeError, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.run import Run
from neurozoo.tasks.multilabel import Multilabel
from neurozoo.tasks.multilabel_losses import Asymmetric, BinaryCrossEntropy, Focal
from neurozoo.testing import Candidate, ConformanceError, LossConformance, check
from neurozoo.training.train import train

Recipes = Callable[..., Recipe]
FOLDER = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "parts")
AUTHORS: dict[str, tuple[Loss, str]] = {
    "asl_default": (Asymmetric(labels="sum"), "sum over samples"),
    "asl_coco": (Asymmetric(positive=0, labels="sum"), "sum over samples"),
    "asl_through": (Asymmetric(through_weight=True, labels="sum"), "sum over samples"),
    "asl_no_clip": (Asymmetric(negative=2, positive=0, margin=0, labels="sum"), "sum over samples"),
    "asl_query2label": (
        Asymmetric(negative=2, positive=0, margin=0, eps=1e-5, through_weight=True),
        "1000 times the mean",
    ),
    "focal_tailor": (Focal(alpha=0.25, eps=1e-8, labels="sum"), "mean over samples"),
}
"""The names of the golden file, the loss here, and what theirs does with the samples."""


class TestBinaryCrossEntropy(LossConformance):
    name = "binary-cross-entropy"


class TestFocal(LossConformance):
    name = "focal"


class TestAsymmetric(LossConformance):
    name = "asymmetric"
    params = {"through_weight": True, "negative": 0.5}  # noqa: RUF012


def test_every_loss_has_its_kit() -> None:
    classes = (TestBinaryCrossEntropy, TestFocal, TestAsymmetric)
    assert {each.name for each in classes} == default_registry().components("loss").keys()


@pytest.mark.parametrize("name", AUTHORS)
@pytest.mark.parametrize("which", [1, 2])
def test_equal_to_the_authors(name: str, which: int) -> None:
    file = load_file(FOLDER / "mm-losses.safetensors")
    logits = file[f"batch{which}/logits"].requires_grad_()
    loss, over = AUTHORS[name]
    factor = {"sum over samples": len(logits), "mean over samples": 1, "1000 times the mean": 1000}[over]
    found = factor * loss(logits, file[f"batch{which}/targets"]).mean()
    torch.testing.assert_close(found[None], file[f"batch{which}/loss/{name}"], rtol=1e-5, atol=0)
    if which == 2:
        (gradient,) = torch.autograd.grad(found, logits)
        want = file[f"batch2/grad/{name}"]
        torch.testing.assert_close(gradient, want, rtol=0, atol=1e-5 * float(want.abs().max()) + 1e-7)


def test_each_without_its_exponents_is_the_cross_entropy() -> None:
    logits, target = torch.randn(5, 3), torch.randint(0, 2, (5, 3)).float()
    want = BinaryCrossEntropy()(logits, target)
    torch.testing.assert_close(Focal(gamma=0)(logits, target), want)
    torch.testing.assert_close(Asymmetric(negative=0, positive=0, margin=0)(logits, target), want)
    torch.testing.assert_close(BinaryCrossEntropy(labels="sum")(logits, target), 3 * want)


def test_a_task_minimises_their_sum_and_reports_its_own() -> None:
    logits, target = torch.randn(4, 5, 2), torch.randint(0, 2, (4, 5, 2)).float()
    valid = torch.rand(4, 5) > 0.4
    task = Multilabel(("a", "b"), per_step=True)
    reported = task.reported_loss(logits[valid], target[valid])
    first, second = Asymmetric(), BinaryCrossEntropy(smoothing=0.1)
    task.minimise([(2.0, first), (0.5, second)])
    want = 2 * first(logits[valid], target[valid]).mean() + 0.5 * second(logits[valid], target[valid]).mean()
    torch.testing.assert_close(task.loss(logits, target, valid), want)
    torch.testing.assert_close(task.loss(logits[valid][None], target[valid][None]), want)
    assert torch.equal(task.reported_loss(logits[valid], target[valid]), reported)
    task.minimise(())
    torch.testing.assert_close(task.loss(logits, target, valid), reported)


def test_a_recipe_names_them(tmp_path: Path, recipe: Recipes) -> None:
    chosen = recipe("training.losses=[{name: asymmetric, weight: 3.0}, binary-cross-entropy]", "training.epochs=1")
    chosen = load_recipe(chosen, registry=default_registry())
    losses = chosen.content["training"]["losses"]
    assert [each["name"] for each in losses] == ["asymmetric", "binary-cross-entropy"]
    assert losses[0]["params"]["negative"] == 4.0, "defaults are filled in"
    assert chosen.digest != recipe("training.epochs=1").digest
    train(chosen, out=tmp_path / "run")
    train(recipe("training.epochs=1"), out=tmp_path / "plain")
    ours, plain = (Run(tmp_path / name).records()[0] for name in ("run", "plain"))
    assert ours["train"]["loss"] > 1.2 * plain["train"]["loss"], "the sum is minimised"
    assert ours["valid"]["loss"] == pytest.approx(plain["valid"]["loss"], rel=0.2), "the cross-entropy is reported"


def test_no_losses_leave_a_recipe_as_it_was(recipe: Recipes) -> None:
    with_none = recipe()
    content: dict[str, Any] = {**with_none.content, "training": dict(with_none.content["training"])}
    del content["training"]["losses"]
    assert load_recipe(content).digest == with_none.digest


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("[asymetric]", "no loss is called 'asymetric'"),
        ("[{name: asymmetric, params: {margin: 2}}]", "margin"),
        ("[{name: focal, weight: 0}]", "weight"),
    ],
)
def test_wrong_losses_are_refused(recipe: Recipes, given: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(recipe(), [f"training.losses={given}"], registry=default_registry())


def test_a_loss_of_another_task_is_refused(recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe("training.losses=[focal]")
    monkeypatch.setattr(Focal, "tasks", ("multiclass",))
    with pytest.raises(
        DataError, match="focal is of the task multiclass, and the recipe's is multilabel; name another"
    ):
        open_experiment(chosen)


class Right(Loss):
    tasks = ("multilabel", "regression")

    def __call__(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.of(torch.sigmoid(outputs) - target)

    def of(self, wrong: torch.Tensor) -> torch.Tensor:
        return wrong.square()


class OneForAll(Right):
    def of(self, wrong):
        return wrong.square().mean()


class Roots(Right):
    def of(self, wrong):
        return wrong.abs().sqrt()


class OfTheBatch(Right):
    def of(self, wrong):
        return wrong.square() / wrong.square().sum()


class Float32(Right):
    def of(self, wrong):
        return wrong.float().square()


class NotAnnotated(Right):
    def __init__(self, *, power=2):
        self.power = power


def test_right_losses_pass_and_wrong_ones_do_not() -> None:
    check(Candidate("loss", "right", Right)).raise_if_failed()
    wrong = {
        "gives_losses": (OneForAll, Roots),
        "answers_are_alone": (OfTheBatch,),
        "dtypes_and_devices_are_kept": (Float32,),
        "parameters_fit_a_recipe": (NotAnnotated,),
    }
    assert {each.name for each in check(Candidate("loss", "right", Right)).results} == wrong.keys()
    for case, losses in wrong.items():
        for loss in losses:
            with pytest.raises(ConformanceError, match=case):
                check(Candidate("loss", loss.__name__, loss), [case]).raise_if_failed()
