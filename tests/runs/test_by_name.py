"""Trained models by name, as they are and for other outputs."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

import neurozoo as nz
from neurozoo.errors import RunError, UserError
from neurozoo.runs.shipped_models import shipped_models

NAME = "braille-events"


def test_trained_models_are_listed_by_what_they_were_trained_for() -> None:
    everything = nz.list_models(pretrained=True)
    assert everything == sorted(shipped_models())
    assert NAME in everything
    of_frames = nz.list_models("n-*", pretrained=True, inputs="frames", task="multiclass", neuron="plif")
    assert set(of_frames) <= set(everything)
    assert nz.list_models(pretrained=True, inputs="tokens") == []
    assert NAME in nz.list_models(pretrained=True, neuron="adlif")
    assert NAME not in nz.list_models(pretrained=True, neuron="alif")
    assert NAME not in nz.list_models()


def test_a_trained_model_is_the_one_that_load_gives() -> None:
    model, loaded = nz.create_model(NAME, pretrained=True), nz.load(NAME).module
    assert not model.training
    state = loaded.state_dict()
    assert state
    assert all(torch.equal(each, state[name]) for name, each in model.state_dict().items())
    ((name, shape),) = model.problem.signals.items()
    x = torch.rand(2, shape.length, *shape.shape).round()
    assert torch.equal(model(x), loaded({name: x}))
    numba = nz.create_model(NAME, pretrained=True, backend="numba")
    assert torch.equal(numba(x), loaded(x))


def test_other_outputs_keep_the_trained_layers_that_fit() -> None:
    old = nz.load(NAME).module
    with pytest.warns(UserWarning, match=rf"{NAME}: \d+ trained tensors are loaded, and \d+ are new.*: layers"):
        model = nz.create_model(NAME, pretrained=True, outputs=["left", "right"], task="multilabel")
    assert (model.problem.task.name, model.problem.task.outputs) == ("multilabel", ("left", "right"))
    before = old.state_dict()
    kept = [name for name, each in model.state_dict().items() if each.shape == before[name].shape]
    assert 0 < len(kept) < len(before)
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in kept)
    shape = next(iter(model.problem.signals.values()))
    assert model(torch.rand(3, shape.length, *shape.shape)).shape == (3, 2)
    with warnings.catch_warnings():  # the same numbers of outputs are no other model
        warnings.simplefilter("error")
        nz.create_model(NAME, pretrained=True, outputs=len(old.problem.task.outputs))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hidden": [3], "neuron": "alif"}, "a trained model has its own neuron, hidden"),
        ({"outputs": 0}, "outputs is 0; give a whole number from 1"),
        ({"outputs": "ab"}, "give a number, or a list of names"),
        ({"inputs": {"sound": (3,)}}, "takes no signal sound; it takes: "),
        ({"inputs": 5.0}, "is 5.0; give the axes of a position"),
        ({"length": -1}, "length is -1; give a whole number"),
    ],
)
def test_what_a_trained_model_cannot_be_made_for(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        nz.create_model(NAME, pretrained=True, **given)


def test_a_trained_model_that_is_not_there() -> None:
    with pytest.raises(RunError, match=f"models that come with neurozoo: .*{NAME}"):
        nz.create_model("spikformer-4-384", pretrained=True)
