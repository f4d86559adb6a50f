"""Steps in segments: the values and gradients of the whole, for every kind of neuron, and little memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurozoo.core.kinds import KINDS
from neurozoo.core.layer import SpikingLayer
from neurozoo.errors import SpikingError
from neurozoo.models.backends import neuron_on
from neurozoo.nn.segments import in_segments


def made(kind: str, backend: str, *, recurrent: bool = False) -> SpikingLayer:
    torch.manual_seed(0)
    returned = nn.Linear(6, 6, bias=False) if recurrent else None
    return SpikingLayer(neuron_on(backend, KINDS[kind]()), nn.Linear(5, 6), recurrent=returned)


def results(layer: SpikingLayer, x: Tensor, length: int | None) -> tuple[Tensor, list[Tensor]]:
    def run(part: Tensor, state: Any) -> tuple[Tensor, Any]:
        return layer.run(layer.currents(part), state, 0.3)

    x = x.clone().requires_grad_()
    out, state = run(x, None) if length == 0 else in_segments(run, x, None, length)
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    loss = (out * weights).sum() + sum(each.sum() for each in state)
    return out.detach(), list(torch.autograd.grad(loss, [x, *layer.parameters()]))


@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize(("kind", "recurrent"), [*((kind, False) for kind in KINDS), ("lif", True), ("alif", True)])
def test_every_kind_has_the_values_and_gradients_of_the_whole(kind: str, recurrent: bool, backend: str) -> None:
    layer = made(kind, backend, recurrent=recurrent)
    x = torch.randn(11, 3, 5, generator=torch.Generator().manual_seed(1)) * 2
    out, gradients = results(layer, x, 0)
    for length in (None, 4, 1):
        again, other = results(layer, x, length)
        assert torch.equal(again, out)
        for one, two in zip(gradients, other, strict=True):
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


def test_random_numbers_are_the_same_in_both_runs() -> None:
    def run(part: Tensor, state: None) -> tuple[Tensor, None]:
        return nn.functional.dropout(part, 0.5), None

    x = torch.ones(16, 2, 8, requires_grad=True)
    out, _ = in_segments(run, x, None)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out)
    assert set(out.unique().tolist()) == {0.0, 2.0}


def test_little_is_kept() -> None:
    layer, reader = made("lif", "torch"), nn.Linear(6, 1)
    kept = [0, 0]

    def run(part: Tensor, state: Any) -> tuple[Tensor, Any]:
        spikes, state = layer.run(layer.currents(part), state)
        return reader(spikes), state

    x = torch.randn(400, 3, 5)

    def count(which: int, saved: Tensor) -> Tensor:
        if saved.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():  # the caller keeps it in any case
            kept[which] += saved.numel()
        return saved

    for which, length in enumerate((400, 20)):
        with torch.autograd.graph.saved_tensors_hooks(partial(count, which), lambda x: x):
            in_segments(run, x, None, length)
    assert kept[1] < 0.1 * kept[0]


def test_what_is_no_segment_is_refused() -> None:
    for x, length in ((torch.zeros(0, 1), None), (torch.zeros(3, 1), 0)):
        with pytest.raises(SpikingError, match="give"):
            in_segments(lambda part, state: (part, state), x, None, length)
