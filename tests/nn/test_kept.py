"""What a forward keeps for its loss terms: in shallow copies, which mixed samples need, and in no other."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import torch

from neurozoo.errors import NeurozooError
from neurozoo.fusions.scmrl import SCMRLFusion, alignment
from neurozoo.models.build import open_experiment
from neurozoo.nn.kept import Kept
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.augmentation import Mixed
from neurozoo.training.optimizer import make_optimizer
from neurozoo.training.step import Stepper


def test_only_a_shallow_copy_has_what_is_kept() -> None:
    kept = Kept()
    kept.keep(x=torch.ones(2, requires_grad=True) * 2)
    assert copy.copy(kept).pop("x") is kept["x"], "and dropping it there leaves it here"
    assert copy.deepcopy(kept) == {}
    assert pickle.loads(pickle.dumps(kept)) == {}
    with torch.no_grad():
        kept.keep(x=torch.ones(2))
    assert kept == {}


@pytest.fixture
def mixed(recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> tuple[Stepper, Mixed, list[Any]]:
    chosen = recipe("model.parts.fusion=scmrl", "model.params.context=null")
    experiment = open_experiment(chosen)
    torch.manual_seed(0)
    model = experiment.build()
    batch = next(iter(experiment.view.batches("train", 4)))
    assert batch.target is not None
    partner = 1 - batch.target
    both = Mixed(batch.signals, batch.target, batch.target_valid, partner=partner, partner_valid=None, share=0.75)
    kept: list[Any] = []
    keep = Kept.keep
    monkeypatch.setattr(Kept, "keep", lambda self, **values: (kept.append(values), keep(self, **values))[1])
    return Stepper(model, make_optimizer(chosen, model), chosen), both, kept


def test_a_term_of_mixed_samples_is_of_both_targets(mixed: tuple[Stepper, Mixed, list[Any]]) -> None:
    stepper, batch, kept = mixed
    with closing(stepper):
        found = stepper.add(batch)["alignment"]
    (values,) = kept
    assert batch.target is not None
    terms = [alignment(values["means"], values["present"], each, 0.07) for each in (batch.target, batch.partner)]
    torch.testing.assert_close(found, (0.75 * terms[0] + 0.25 * terms[1]).detach())


def test_other_names_for_the_other_targets_are_refused(
    mixed: tuple[Stepper, Mixed, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper, batch, _ = mixed
    losses = SCMRLFusion.losses
    monkeypatch.setattr(
        SCMRLFusion, "losses", lambda self, target: {} if target is batch.partner else losses(self, target)
    )
    with (
        closing(stepper),
        pytest.raises(NeurozooError, match="other targets the loss terms are none, and for their own al"),
    ):
        stepper.add(batch)
