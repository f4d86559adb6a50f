"""What a new model takes from the training data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.model import Model
from neurozoo.data.view import training_statistics
from neurozoo.errors import SpikingError
from neurozoo.evaluation.health import unseen_spikes
from neurozoo.models.build import Experiment, open_experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.prepare import check_recorded, prepare
from neurozoo.training.train import train


def test_scaling_is_part_of_the_weights(recipe: Callable[..., Recipe]) -> None:
    small = recipe()
    experiment = open_experiment(small)
    view, model = experiment.view, experiment.build()
    prepare(model, view, small)
    state = model.state_dict()
    for name, (mean, std) in training_statistics(view).items():
        assert torch.equal(state[f"standardise.{name}.mean"], mean)
        assert torch.equal(state[f"standardise.{name}.std"], std)
    for batch in view.batches("train", 100):
        for name, signal in batch.signals.items():
            scaled = model.signal(batch, name)
            assert scaled.values[signal.mask].mean(0).abs().max() < 1e-5
            assert not scaled.values[~signal.mask].any()


def test_the_published_choice_leaves_everything_alone(recipe: Callable[..., Recipe]) -> None:
    small = recipe("data.standardise=false", "training.initialisation={name: default}")
    experiment = open_experiment(small)
    model = experiment.build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepare(model, experiment.view, small)
    after = model.state_dict()
    assert not any(name.startswith("standardise") for name in after)
    assert all(torch.equal(before[name], value) for name, value in after.items())


class Fires(nn.Module):
    """A model's own neurons, in no layer that records them."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


def with_own_neurons(model: Model) -> Model:
    project: Any = model.project
    project["audio"] = nn.Sequential(project["audio"], Fires())
    return model


CORRECTED = "training.rate_penalty={weight: 1.0}"
PUBLISHED = ("training.rate_penalty={weight: 0.0}", "training.initialisation={name: default}")


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (["model.parts.activation=relu", CORRECTED, PUBLISHED[1]], True),
        (["model.parts.activation=relu", PUBLISHED[0], "training.initialisation={name: fluctuation-driven}"], True),
        (["model.parts.activation=relu", *PUBLISHED], False),
        (["model.parts.activation=lif", CORRECTED], False),
    ],
)
def test_a_penalty_on_spikes_that_it_cannot_see_is_refused(
    overrides: list[str], refused: bool, recipe: Callable[..., Recipe]
) -> None:
    small = recipe(*overrides)
    experiment = open_experiment(small)
    check_recorded(experiment.build(), small, [])  # the control has no spikes, and may have a penalty
    model = with_own_neurons(experiment.build())
    unseen = unseen_spikes(model, experiment.view.split("train").batch(torch.arange(1)))
    if refused:
        with pytest.raises(SpikingError, match=r"project.audio.1 .*, or set training.rate_penalty.weight=0"):
            check_recorded(model, small, unseen)
    else:
        check_recorded(model, small, unseen)


def test_a_run_warns_of_spikes_that_nothing_records(
    recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Experiment.build
    monkeypatch.setattr(Experiment, "build", lambda self, **options: with_own_neurons(build(self, **options)))
    train(recipe("training.epochs=1"), out=tmp_path / "run")
    warnings = json.loads((tmp_path / "run" / "summary.json").read_text())["warnings"]
    assert any(each.startswith("project.audio.1 (Fires) fires outside") for each in warnings)
