"""What a model's branches are given and make, at a threshold that is not their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from neurozoo.core.signals import Batch
from neurozoo.models.smile.model import SMILE
from neurozoo.nir.export.branches import observe

SHAPES = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}
DIMS = {name: dim for name, (_, dim) in SHAPES.items()}


@pytest.fixture
def model(smile: Callable[..., SMILE]) -> SMILE:
    return smile(DIMS, ("audio", "vision"), "text", hidden=10, spiking_inner=16, time_steps=4).eval()


def test_smiles_input_is_the_projection_held_for_t_steps(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES)
    seen = observe(model, batch, 0.1)
    assert list(seen) == ["audio", "vision"]
    audio = seen["audio"]
    projected = model.projected("audio", batch).x.flatten(0, 1)
    assert audio.inputs.shape == (4, 4 * 8, 10)
    assert all(torch.equal(each, projected) for each in audio.inputs)
    assert [link.fired.spikes.shape for link in audio.neurons] == [(4, 32, 16), (4, 32, 10)]


def test_the_spikes_are_those_of_the_branch_at_that_threshold(model: SMILE, random_batch: Callable[..., Batch]) -> None:
    batch = random_batch(SHAPES)
    seen = {threshold: observe(model, batch, threshold)["audio"] for threshold in (0.1, 0.4)}
    for threshold, found in seen.items():
        rates = model.branches["audio"](model.projected("audio", batch).x, torch.tensor(threshold), None)
        assert torch.equal(found.neurons[1].fired.spikes.mean(0).reshape(rates.shape), rates)
    assert seen[0.1].neurons[0].fired.spikes.sum() > seen[0.4].neurons[0].fired.spikes.sum() > 0


def test_one_time_step_is_no_other_case(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    model = smile({"audio": DIMS["audio"]}, ("audio",), None, hidden=10, spiking_inner=16, time_steps=1).eval()
    batch = random_batch(SHAPES)
    assert torch.equal(observe(model, batch, 0.1)["audio"].inputs[0], model.projected("audio", batch).x.flatten(0, 1))


def test_it_leaves_no_trace(smile: Callable[..., SMILE], random_batch: Callable[..., Batch]) -> None:
    parts = {"threshold": "cross-entropy-ratio"}
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10, parts=parts).eval()
    batch = random_batch(SHAPES)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    logits = model(batch)
    model.load_state_dict(before)
    observe(model, batch, 0.3)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.equal(model(batch), logits)
