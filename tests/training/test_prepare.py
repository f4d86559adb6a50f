"""What a new model takes from the training data."""

from __future__ import annotations

from collections.abc import Callable

import torch

from neurozoo.data.view import training_statistics
from neurozoo.models.build import assemble, inputs_of, open_data
from neurozoo.recipe.recipe import Recipe
from neurozoo.training.prepare import prepare


def test_scaling_is_part_of_the_weights(recipe: Callable[..., Recipe]) -> None:
    small = recipe()
    view = open_data(small)
    model = assemble(small, inputs_of(small, {"text": 5, "audio": 4, "vision": 3}, 3))
    prepare(model, view, small)
    state = model.state_dict()
    for name, (mean, std) in training_statistics(view).items():
        assert torch.equal(state[f"standardise.{name}.mean"], mean)
        assert torch.equal(state[f"standardise.{name}.std"], std)
    scaled = [
        model.standardise[name](batch.features[name])[batch.masks[name]]
        for batch in view.batches("train", 100)
        for name in ("text", "audio", "vision")
    ]
    assert all(x.mean(0).abs().max() < 1e-5 for x in scaled)


def test_the_published_choice_leaves_everything_alone(recipe: Callable[..., Recipe]) -> None:
    small = recipe("data.standardise=false", "training.initialisation={name: default}")
    model = assemble(small, inputs_of(small, {"text": 5, "audio": 4, "vision": 3}, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    prepare(model, open_data(small), small)
    after = model.state_dict()
    assert not any(name.startswith("standardise") for name in after)
    assert all(torch.equal(before[name], value) for name, value in after.items())
