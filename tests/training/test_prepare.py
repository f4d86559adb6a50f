"""What a new model takes from the training data."""

from __future__ import annotations

from collections.abc import Callable

import torch

from neurozoo.data.view import training_statistics
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.prepare import prepare


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
