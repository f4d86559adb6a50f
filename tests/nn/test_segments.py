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
    mine = {each.untyped_storage().data_ptr() for each in (x, *layer.parameters(), *reader.parameters())}

    class Saved:
        def __init__(self, which: int, tensor: Tensor) -> None:
            self.which, self.tensor = which, tensor
            self.size = 0 if tensor.untyped_storage().data_ptr() in mine else tensor.numel()
            kept[which] += self.size

        def __del__(self) -> None:
            kept[self.which] -= self.size

    outputs = []
    for which, length in enumerate((400, 20)):
        with torch.autograd.graph.saved_tensors_hooks(partial(Saved, which), lambda saved: saved.tensor):
            outputs.append(in_segments(run, x, None, length)[0])
    assert kept[1] == 0  # the states between segments are no saved tensors
    assert kept[0] > 10 * (400 // 20 - 1) * 3 * 6
    assert len(nodes(outputs[1])) == 1 + 4 < len(nodes(outputs[0])) / 100


def nodes(x: Tensor) -> set[Any]:
    """The nodes of a graph."""
    found: set[Any] = set()
    waiting: list[Any] = [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [other for other, _ in node.next_functions]
    return found


def test_inputs_outputs_and_states_may_be_nested() -> None:
    weight = torch.randn(5, 5, requires_grad=True)

    def run(given: Any, state: Any) -> Any:
        x, gate = given
        total, count = state
        sums = total + (gate[..., None] * (x @ weight)).tanh().cumsum(0)
        return {"sums": sums, "on": gate}, (sums[-1], count + len(x))

    x = torch.randn(9, 2, 5, requires_grad=True)
    gate = torch.rand(9, 2) < 0.5
    start = torch.randn(2, 5, requires_grad=True)
    whole, after = run((x, gate), (start, 0))
    made, last = in_segments(run, (x, gate), (start, 0), 2)
    torch.testing.assert_close(made["sums"], whole["sums"])
    assert torch.equal(made["on"], gate)
    assert (last[1], after[1]) == (9, 9)
    goal = torch.randn(9, 2, 5)
    inputs = [x, start, weight]
    one = torch.autograd.grad((whole["sums"] * goal).sum() + after[0].square().sum(), inputs)
    loss = (made["sums"] * goal).sum() + last[0].square().sum()
    for _ in range(2):
        two = torch.autograd.grad(loss, inputs, retain_graph=True)
        for mine, other in zip(two, one, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_mixed_precision_is_that_of_the_forward() -> None:
    linear = nn.Linear(8, 8)
    x = torch.randn(8, 2, 8)

    def run(part: Tensor, state: None) -> tuple[Tensor, None]:
        return linear(part), None

    with torch.autocast("cpu", torch.bfloat16):
        (one,) = torch.autograd.grad(run(x, None)[0].float().square().sum(), [linear.weight])
        made = in_segments(run, x, None, 2)[0]
        later = linear(x[:1])  # its weight must not be one that was cast without a graph
    assert made.dtype == torch.bfloat16
    (two,) = torch.autograd.grad(made.float().square().sum(), [linear.weight])
    torch.testing.assert_close(two, one, rtol=0.02, atol=0.2)
    assert torch.autograd.grad(later.float().sum(), [linear.weight])[0].abs().sum() > 0


def test_a_tensor_from_outside_with_a_gradient_is_refused() -> None:
    stored = torch.ones(3, requires_grad=True)
    used = stored.exp()
    with pytest.raises(SpikingError, match=r"computed outside \(ExpBackward0\); compute it inside"):
        in_segments(lambda part, state: (part * used, state), torch.ones(8, 2, 3), None)


def test_what_is_no_segment_is_refused() -> None:
    for x, length in ((torch.zeros(0, 1), None), (torch.zeros(3, 1), 0)):
        with pytest.raises(SpikingError, match="give"):
            in_segments(lambda part, state: (part, state), x, None, length)
    with pytest.raises(SpikingError, match=r"gave outputs of the shape \[2\]; give"):
        in_segments(lambda part, state: (part.sum((0, 2)), state), torch.zeros(8, 2, 3), None)
