"""The gated control: torch's own units, padding without effect, no spikes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neurozoo.core.recording import spiking_layers
from neurozoo.core.signals import Batch, Problem, Signal, SignalShape
from neurozoo.models.gru import GatedNet
from neurozoo.operations.counting import OperationCounter
from neurozoo.registry.registry import default_registry
from neurozoo.tasks.multiclass import Multiclass


def make(per_step: bool = False, **params: Any) -> GatedNet:
    torch.manual_seed(0)
    problem = Problem({"spikes": SignalShape((5,), 8, ragged=True)}, Multiclass(("a", "b", "c"), per_step))
    return GatedNet(problem, lambda _: None, default_registry().resolve("neuron", "torch"), hidden=4, **params).eval()


def test_it_is_torchs_gru() -> None:
    model, theirs = make(), nn.GRU(5, 4, batch_first=True)
    with torch.no_grad():
        for own, suffix in ((model.input, "ih_l0"), (model.recurrent, "hh_l0")):
            getattr(theirs, f"weight_{suffix}").copy_(own.weight)
            getattr(theirs, f"bias_{suffix}").copy_(own.bias)
    x = torch.rand(3, 8, 5)
    torch.testing.assert_close(model(x), model.head(theirs(x)[0]).mean(1))


@pytest.mark.parametrize("per_step", [False, True])
def test_padding_changes_nothing(per_step: bool) -> None:
    model, x = make(per_step), torch.rand(2, 8, 5)
    valid = torch.arange(8) < torch.tensor([[8], [5]])
    together = model(Batch({"spikes": Signal(x, valid)}))
    alone = model(Batch({"spikes": Signal(x[1:, :5])}))
    torch.testing.assert_close(together[1, :5] if per_step else together[1], alone[0])


def test_all_of_its_products_are_counted() -> None:
    model = make()
    assert not spiking_layers(model)
    with torch.no_grad(), OperationCounter(model) as counter:
        model(torch.rand(2, 8, 5))
    counts = counter.counts(samples=2)
    assert not counts.uncounted
    # The state before the first step is 0.
    assert counts.macs == 2 * (8 * 5 * 12 + 7 * 4 * 12 + 8 * 4 * 3)


def test_the_pixels_of_frames_are_features() -> None:
    torch.manual_seed(0)
    shapes = {"events": SignalShape((2, 3, 3), 6)}
    neuron = default_registry().resolve("neuron", "torch")
    model = GatedNet(Problem(shapes, Multiclass(("a", "b"))), lambda _: None, neuron, hidden=4)
    assert model.input.in_features == 18
    assert model(torch.rand(3, 6, 2, 3, 3)).shape == (3, 2)
