"""Held against NeuroBench's own counts, on the layers that both count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from neurobench.metrics.static import Footprint, ParameterCount
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import TorchModel
from torch import Tensor, nn

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.signals import Batch, Problem
from neurozoo.models.smile.model import SMILE
from neurozoo.models.smile.sequence_model import SpikingSequence
from neurozoo.operations.counting import OperationCounter
from neurozoo.operations.result import Counts
from neurozoo.registry.registry import default_registry, slot_kind
from neurozoo.training.initialisation import initialise_fluctuation_driven

DIMS = {"text": 5, "audio": 4, "vision": 3}
SHAPES = {"text": (6, 5), "audio": (8, 4), "vision": (7, 3)}


def by_neurobench(model: nn.Module, *batches: Any) -> dict[str, float]:
    wrapped, metric = TorchModel(model), SynapticOperations()
    for batch in batches:
        wrapped.register_hooks()
        with torch.no_grad():
            metric(wrapped, wrapped(batch), (torch.zeros(len(batch)),))
        wrapped.cleanup_hooks()
    found: dict[str, float] = metric.compute()
    return found


def by_us(model: nn.Module, *batches: Any) -> Counts:
    with torch.no_grad(), OperationCounter(model.eval()) as counter:
        for batch in batches:
            model(batch)
    return counter.counts(sum(map(len, batches)))


def check(model: nn.Module, *batches: Any) -> Counts:
    """Exactly the same, and something there."""
    ours, theirs = by_us(model, *batches), by_neurobench(model, *batches)
    found = {"Effective_MACs": ours.macs, "Effective_ACs": ours.acs, "Dense": ours.dense}
    assert {name: number / ours.samples for name, number in found.items()} == theirs
    assert ours.parameters == ParameterCount()(TorchModel(model))
    assert ours.bytes == Footprint()(TorchModel(model))
    assert 0 < ours.macs < ours.dense
    return ours


@pytest.mark.parametrize("padding", ["masked", "visible"])
def test_smile(smile: Callable[..., SMILE], random_batch: Callable[..., Batch], padding: str) -> None:
    model = smile(DIMS, ("audio", "vision"), "text", hidden=10, spiking_inner=16, padding=padding)
    batches = [random_batch(SHAPES, seed=seed) for seed in range(2)]
    initialise_fluctuation_driven(model, batches[0], 0.25)
    assert check(model, *batches).acs > 0


@pytest.mark.parametrize("context", [None, "text"])
def test_spiking_sequence(
    problem: Callable[..., Problem], random_batch: Callable[..., Batch], context: str | None
) -> None:
    parts = {"activation": "lif", "threshold": "constant", "head": "label-decoder"}
    registry = default_registry()

    def build(slot: str, *args: Any) -> Any:
        kind, base = slot_kind(SpikingSequence.slots[slot])
        return registry.resolve(kind, parts[slot], base)(*args)

    torch.manual_seed(0)
    dims = {name: dim for name, dim in DIMS.items() if context or name != "text"}
    model = SpikingSequence(
        problem(dims, standardise=True), build, TorchNeuron, context=context, hidden=10, spiking_inner=8
    )
    batches = [random_batch(SHAPES, seed=seed) for seed in range(2)]
    initialise_fluctuation_driven(model, batches[0], 0.25)
    assert check(model, *batches).acs > 0


class ConvolutionalNet(nn.Module):
    """Two convolutions and a linear, with neurons between, over T steps of events."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.third = nn.Linear(24, 5)
        self.neurons = nn.ModuleList(SpikingLayer(TorchNeuron(LIFSpec(tau=1.5))) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]  # [B, T, 1, 6, 6]
        fired = self.neurons[0](self.first(x.flatten(0, 1)).unflatten(0, (-1, steps)).transpose(0, 1), 0.3)
        currents = self.second(fired.flatten(0, 1)).unflatten(0, (steps, -1))
        return self.third(self.neurons[1](currents, 0.1).flatten(2)).mean(0)


@pytest.mark.parametrize("events", [True, False])
def test_a_small_convolutional_net(events: bool) -> None:
    torch.manual_seed(0)
    model = ConvolutionalNet()
    model.second.weight.data[0] = 0.0  # pruned weights are no effective ones
    x = (torch.rand(3, 4, 1, 6, 6) < 0.3).float() * (1.0 if events else torch.rand(3, 4, 1, 6, 6))
    ours, theirs = by_us(model, x), by_neurobench(model, x)
    assert (ours.macs / 3, ours.acs / 3, ours.dense / 3) == tuple(
        theirs[name] for name in ("Effective_MACs", "Effective_ACs", "Dense")
    )
    assert (ours.macs > 0) is not events
    assert 0 < ours.acs < ours.dense


def test_whole_numbers_are_the_same_pairs_and_other_operations() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5))
    x = torch.randint(0, 8, (3, 6)).float()
    ours, theirs = by_us(model, x), by_neurobench(model, x)
    assert theirs["Effective_MACs"] * 3 == ours.macs + ours.acs - ours.repeated
    assert theirs["Dense"] * 3 == ours.dense
    small, large = x[(x > 0) & (x <= 5)], x[x > 5]
    assert (ours.acs, ours.macs) == (5 * int(small.sum()), 5 * len(large))
    assert ours.repeated == 5 * int((small - 1).sum())
