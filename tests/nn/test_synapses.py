"""Batch norm of convolutions: over all steps, and step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.nn.synapses import Normalised, NormalisedEachStep, conv_norm

T, B, C = 3, 4, 2


def inputs(seed: int = 0) -> Tensor:
    return torch.randn(T, B, C, 5, 5, generator=torch.Generator().manual_seed(seed)) * torch.tensor(
        [1.0, 3.0, 9.0]
    ).view(T, 1, 1, 1, 1)


def pair() -> tuple[NormalisedEachStep, nn.Conv2d, nn.BatchNorm2d]:
    """A synapse, and the plain modules of equal weights."""
    torch.manual_seed(0)
    synapse = conv_norm(C, 3, statistics="each-step")
    assert isinstance(synapse, NormalisedEachStep)
    nn.init.uniform_(synapse.norm.weight)
    nn.init.uniform_(synapse.norm.bias)
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict(synapse.norm.state_dict())
    assert isinstance(synapse.weight, nn.Conv2d)
    return synapse, synapse.weight, norm


def test_each_step_is_normalised_alone_and_updates_the_running_statistics() -> None:
    synapse, convolution, norm = pair()
    x = inputs()
    expected = torch.stack([norm(convolution(step)) for step in x])
    torch.testing.assert_close(synapse(x), expected)
    torch.testing.assert_close(synapse.norm.running_mean, norm.running_mean)
    torch.testing.assert_close(synapse.norm.running_var, norm.running_var)
    assert int(synapse.norm.num_batches_tracked) == T


def test_in_evaluation_both_are_one_function() -> None:
    synapse, _, _ = pair()
    merged = conv_norm(C, 3)
    assert type(merged) is Normalised
    merged.load_state_dict(synapse.state_dict())
    x = inputs()
    rows = merged.eval()(x.flatten(0, 1)).unflatten(0, (T, B))
    torch.testing.assert_close(synapse.eval()(x), rows)
    assert not torch.allclose(synapse.train()(x), merged.train()(x.flatten(0, 1)).unflatten(0, (T, B)), atol=0.1)


def test_padding_does_not_shift_the_statistics_of_a_step() -> None:
    x = inputs()
    lengths = torch.tensor([3, 2, 1, 0])
    valid = torch.arange(T)[:, None] < lengths
    synapse, convolution, norm = pair()
    found = synapse(x, valid)
    for t in range(T):
        torch.testing.assert_close(found[t][valid[t]], norm(convolution(x[t][valid[t]])))
    torch.testing.assert_close(synapse.norm.running_var, norm.running_var)
    before = {name: value.clone() for name, value in synapse.norm.state_dict().items()}
    synapse(x, torch.zeros(T, B, dtype=torch.bool))
    after = synapse.norm.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in ("running_mean", "running_var"))


def test_a_layer_gives_it_the_steps() -> None:
    synapse, convolution, norm = pair()
    layer = SpikingLayer(TorchNeuron(LIFSpec()), synapse)
    x = inputs()
    currents = torch.stack([norm(convolution(step)) for step in x])
    assert torch.equal(layer(x), SpikingLayer(TorchNeuron(LIFSpec()))(currents))


@pytest.mark.parametrize("masked", [False, True])
def test_one_value_is_normalised_to_the_bias_and_leaves_the_running_variance(masked: bool) -> None:
    synapse, _, norm = pair()
    merged = conv_norm(C, 3)
    merged.load_state_dict(synapse.state_dict())
    x = torch.randn(2, C, 1, 1) if masked else torch.randn(1, C, 1, 1)
    valid = torch.tensor([True, False]) if masked else None
    made = merged(x, valid)
    torch.testing.assert_close(made[0, :, 0, 0], norm.bias.detach())
    assert torch.equal(merged.norm.running_var, norm.running_var)
    assert merged.norm.running_mean is not None
    torch.testing.assert_close(merged.norm.running_mean, 0.1 * merged.weight(x)[0, :, 0, 0])
