"""What a model's modules may do around a training: each hook is called when and with what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from neurozoo.core.model import Trained
from neurozoo.data.store import Store
from neurozoo.evaluation.evaluate import evaluate_run
from neurozoo.models.smile.model import SMILE
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.training.train import resume, train

Recipes = Callable[..., Recipe]


class Hooked(Trained):
    """Keeps what it is told in a log of the class, and its schedule in buffers."""

    log: list[tuple[Any, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("share", torch.zeros(3))
        self.register_buffer("epochs", torch.zeros(()))

    def prepare(self, target: Tensor, valid: Tensor | None = None) -> None:
        Hooked.log.append(("prepare", target.clone(), valid))
        self.share.copy_(target.mean(0))

    def losses(self, target: Tensor) -> Mapping[str, Tensor]:
        Hooked.log.append(("losses", len(target)))
        return {"pull": 0.5 * (self.weight - 3) ** 2, "push": 0 * self.weight}

    def report(self) -> Mapping[str, Tensor]:
        return {"hooked_weight": self.weight.detach()}

    def after_step(self) -> None:
        assert not torch.is_grad_enabled()
        Hooked.log.append(("after_step",))
        self.weight.clamp_(max=1.5)

    def after_epoch(self) -> None:
        assert not torch.is_grad_enabled()
        Hooked.log.append(("after_epoch",))
        self.epochs += 1


@pytest.fixture(autouse=True)
def _hooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """SMILE with one more module, which takes no part in the forward."""
    built = SMILE.__init__

    def with_one_more(self: SMILE, *arguments: Any, **params: Any) -> None:
        built(self, *arguments, **params)
        self.hooked = Hooked()

    monkeypatch.setattr(SMILE, "__init__", with_one_more)
    # The recipe's parameters are read from the signature.
    with_one_more.__wrapped__ = built  # type: ignore[attr-defined]
    with_one_more.__kwdefaults__ = None
    with_one_more.__annotations__ = built.__annotations__
    monkeypatch.setattr(Hooked, "log", [], raising=False)
    default_registry.cache_clear()


def names() -> list[str]:
    return [name for name, *_ in Hooked.log]


def test_each_is_called_in_its_place(tmp_path: Path, recipe: Recipes, store: Path) -> None:
    train(recipe(), out=tmp_path / "run")
    step = ["losses", "after_step"]
    assert names() == ["prepare", *(2 * (3 * step + ["after_epoch"]))]
    (_, target, valid) = Hooked.log[0]
    assert torch.equal(target, Store(store).split("train").target)
    assert valid is None
    assert [size for name, *rest in Hooked.log if name == "losses" for size in rest] == [8] * 6

    weights, _ = read_tensors(Run(tmp_path / "run").last)
    torch.testing.assert_close(weights["hooked.share"], target.mean(0))
    assert weights["hooked.epochs"] == 2
    Hooked.log.clear()
    evaluate_run(tmp_path / "run")
    assert names() == []


def test_terms_are_trained_on_and_written_by_their_names(tmp_path: Path, recipe: Recipes) -> None:
    train(recipe("training.optimizer={name: sgd, lr: 0.1}"), out=tmp_path / "run")
    weight, expected = 1.0, []
    for _ in range(6):
        expected.append(0.5 * (weight - 3) ** 2)
        weight = min(weight + 0.1 * (3 - weight), 1.5)
    records = Run(tmp_path / "run").records()
    pulls = [sum(expected[:3]) / 3, sum(expected[3:]) / 3]
    assert [record["train"]["pull"] for record in records] == pytest.approx(pulls, rel=1e-5)
    assert [record["train"]["push"] for record in records] == [0, 0]
    assert records[-1]["threshold"]["hooked_weight"] == pytest.approx(1.5)
    weights, _ = read_tensors(Run(tmp_path / "run").last)
    assert weights["hooked.weight"] == 1.5
    # The loss that is written is the task's own, which compares with other models'.
    assert all(record["train"]["loss"] < pull for record, pull in zip(records, pulls, strict=True))


def test_a_term_counts_once_a_step_however_many_batches_it_has(tmp_path: Path, recipe: Recipes) -> None:
    sgd = "training.optimizer={name: sgd, lr: 0.1}"
    train(recipe(sgd, "training.epochs=1"), out=tmp_path / "whole")
    train(recipe(sgd, "training.epochs=1", "training.batch_size=4", "training.accumulate=2"), out=tmp_path / "halves")
    whole, halves = (read_tensors(Run(tmp_path / name).last)[0]["hooked.weight"] for name in ("whole", "halves"))
    torch.testing.assert_close(halves, whole)


def test_a_run_that_continues_is_not_prepared_again(
    tmp_path: Path, recipe: Recipes, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    checked = recipe("training.checkpoint_steps=1")
    train(checked, out=tmp_path / "whole")
    with interrupted_at(5):
        train(checked, out=tmp_path / "run")
    Hooked.log.clear()
    resume(tmp_path / "run")
    assert names() == ["losses", "after_step"] * 2 + ["after_epoch"]
    assert Run(tmp_path / "run").last.read_bytes() == Run(tmp_path / "whole").last.read_bytes()
