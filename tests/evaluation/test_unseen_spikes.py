"""Spikes that are made outside of layers of neurons are named, in training, in comparisons, and wherever one looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from neurozoo.compare.entry_points import Plan, compare_model
from neurozoo.core.equations import spike
from neurozoo.core.kinds import LIFSpec, LISpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.recording import unrecorded
from neurozoo.errors import UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import default_registry
from neurozoo.reporting.backend_comparison import as_text
from neurozoo.training.train import train

PLUGIN = """
import torch
from torch import nn
from neurozoo.core.equations import spike
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer
from neurozoo.core.model import Model
from neurozoo.registry.hookspecs import Component, hookimpl

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components():
    yield Component("model", "hidden-spikes", "neurozoo_hidden:Hidden", "for tests")


class Step(nn.Module):
    def forward(self, x):
        return spike(x)


class Hidden(Model):
    slots = {}

    def __init__(self, problem, parts, neuron, *, seen: bool = True):
        super().__init__(problem)
        self.layer = SpikingLayer(neuron(LIFSpec()), nn.Linear(problem.signals["audio"].dim, 8)) if seen else None
        self.plain = nn.Linear(problem.signals["audio"].dim, 8)
        self.custom = Step()
        self.head = nn.Linear(8, problem.outputs)

    def forward(self, batch):
        x = self.signal(batch, "audio").values
        fired = self.custom(self.plain(x))
        if self.layer is not None:
            fired = fired + self.layer(3 * x, steps=2).mean(0)
        return self.head(fired.mean(1))
"""


class Step(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return spike(x)


class Returns(nn.Module):
    """Spikes and membrane, as some libraries' neurons return them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return spike(x), x


class Holds(nn.Module):
    """A neuron that runs outside of any layer."""

    def __init__(self, spiking: bool) -> None:
        super().__init__()
        self.neurons = [TorchNeuron(LIFSpec() if spiking else LISpec(decay=0.5))]

    def forward(self, x: Tensor) -> Tensor:
        return self.neurons[0].scan(x[None], None, 1.0)[0][0] + x


class First(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return pair[0]


def layer() -> SpikingLayer:
    return SpikingLayer(TorchNeuron(LIFSpec()))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Linear(4, 4), Step()), {"1": "Step"}),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 4), Step()), nn.Linear(4, 2)), {"0.1": "Step"}),
        (nn.Sequential(Returns(), First()), {"0": "Returns"}),
        (nn.Sequential(Holds(True)), {"0": "Holds"}),
        (nn.Sequential(Holds(False)), {}),
        # What passes spikes on makes none, and layers of neurons are seen.
        (nn.Sequential(layer(), nn.Flatten(), nn.Identity(), nn.Linear(24, 2), nn.ReLU(), nn.Softmax(-1)), {}),
        (nn.Sequential(nn.Sequential(nn.Linear(4, 4), layer()), nn.Dropout()), {}),
    ],
)
def test_modules_that_fire_outside_of_a_layer(model: nn.Module, expected: dict[str, str]) -> None:
    torch.manual_seed(0)
    with unrecorded(model.eval()) as found:
        model(4 * torch.randn(5, 6, 4))
    assert found == expected
    assert not any(module._forward_hooks for module in model.modules())


@pytest.fixture
def hidden(install: Callable[..., Path]) -> Iterator[None]:
    """The model ``hidden-spikes``."""
    install("neurozoo-hidden", PLUGIN)
    default_registry.cache_clear()
    yield
    default_registry.cache_clear()


@pytest.mark.usefixtures("hidden")
def test_training_and_comparison_name_them(tmp_path: Path, recipe: Callable[..., Recipe]) -> None:
    checked = recipe("training.epochs=1", "model={name: hidden-spikes}")
    summary = train(checked, out=tmp_path / "run")
    told = "custom (Step) fires outside of a SpikingLayer"
    assert sum(told in warning for warning in summary["warnings"]) == 1
    found = compare_model(checked, ["torch", "norse"], Plan(batches=1, repeats=1))
    assert found.unseen == {"custom": "Step"}
    assert "NOT COMPARED: custom (Step)" in as_text(found)


@pytest.mark.usefixtures("hidden")
def test_a_comparison_without_a_layer_names_what_fires_instead(recipe: Callable[..., Recipe]) -> None:
    checked = recipe("model={name: hidden-spikes, params: {seen: false}}")
    with pytest.raises(UserError, match=r"Hidden has no spiking layer, .*; custom \(Step\) fires outside of a Spiking"):
        compare_model(checked, ["torch", "norse"], Plan(batches=1))
