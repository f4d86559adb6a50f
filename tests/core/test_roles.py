"""The role of every parameter: by what its module is, or as a module names it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import Learned, SpikingLayer, TorchNeuron
from neurozoo.core.model import Trained
from neurozoo.core.roles import parameter_roles
from neurozoo.errors import NeurozooError
from neurozoo.nn.synapses import conv_norm


class Delayed(Trained):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.positions = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))

    def roles(self) -> Mapping[str, str]:
        return {"positions": "position"}


class Net(Trained):
    def __init__(self, **named: str) -> None:
        super().__init__()
        self.named = named
        self.layer = SpikingLayer(
            TorchNeuron(LIFSpec()), conv_norm(1, 2), shape=(2, 1, 1), learned={"tau": Learned(2.0, "neuron")}
        )
        self.fc, self.norm, self.table = nn.Linear(3, 2), nn.LayerNorm(2), nn.Embedding(4, 2)
        self.attention = nn.MultiheadAttention(4, 2)
        self.gain, self.delayed = nn.Parameter(torch.ones(())), Delayed()
        self.tied = nn.Linear(2, 4, bias=False)
        self.tied.weight = self.table.weight

    def roles(self) -> Mapping[str, str]:
        return {name.replace("__", "."): role for name, role in self.named.items()}


def test_the_defaults() -> None:
    assert parameter_roles(Net()) == {
        "gain": "scale",
        "layer.stored.tau": "neuron",
        "layer.synapse.weight.weight": "weight",
        "layer.synapse.norm.weight": "norm",
        "layer.synapse.norm.bias": "norm",
        "fc.weight": "weight",
        "fc.bias": "bias",
        "norm.weight": "norm",
        "norm.bias": "norm",
        "table.weight": "embedding",
        "attention.in_proj_weight": "weight",
        "attention.in_proj_bias": "bias",
        "attention.out_proj.weight": "weight",
        "attention.out_proj.bias": "bias",
        "delayed.weight": "weight",
        "delayed.positions": "position",
    }


def test_an_outer_module_has_the_last_word() -> None:
    roles = parameter_roles(Net(delayed__positions="delay", fc__weight="readout"))
    assert (roles["delayed.positions"], roles["fc.weight"], roles["fc.bias"]) == ("delay", "readout", "bias")


def test_a_layer_alone_has_them_too() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec()), learned={"tau": Learned(2.0)})
    assert parameter_roles(layer) == {"stored.tau": "neuron"}


def test_a_role_of_no_parameter_is_refused() -> None:
    with pytest.raises(
        NeurozooError, match=r"Net.roles\(\) names 'fc.wait', and its parameters are: gain, .*fc.weight"
    ):
        parameter_roles(Net(fc__wait="weight"))
