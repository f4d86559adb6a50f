"""Spikes, membranes and gradients are the oracle's to the last bit, sums over several numbers excepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.interfaces import SURROGATES, LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron

Make = Callable[[LIFSpec], Neuron]
LAYOUTS = ("dense", "transposed", "strided", "repeated over T", "repeated over B")


@dataclass(frozen=True)
class Call:
    """One call of a neuron, and what of its results is used."""

    spec: LIFSpec
    currents: Tensor
    layout: str
    threshold: Tensor | float
    state: Tensor | None
    used: str

    def leaves(self) -> dict[str, Tensor]:
        named = {"currents": self.currents, "threshold": self.threshold, "state": self.state}
        return {name: x.clone().requires_grad_() for name, x in named.items() if isinstance(x, Tensor)}

    @property
    def shape(self) -> torch.Size:
        steps, batch, *rest = self.currents.shape
        if self.layout == "repeated over T":
            steps = 6
        return torch.Size((steps, 4 if self.layout == "repeated over B" else batch, *rest))

    def run(self, neuron: Neuron) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor | None]]:
        leaves = self.leaves()
        x = leaves["currents"]
        if self.layout == "transposed":
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
        elif self.layout == "strided":
            x = torch.stack([x, -x], -1)[..., 0]
        else:
            x = x.expand(self.shape)
        spikes, v = neuron.scan(x, leaves.get("state"), leaves.get("threshold", self.threshold))
        random = torch.Generator().manual_seed(1)
        weights = torch.randn(spikes.shape, generator=random, dtype=spikes.dtype)
        loss = {
            "spikes": lambda: (spikes * weights).sum(),
            "membrane": lambda: (v * weights[0]).sum(),
            "both": lambda: (spikes * weights).sum() + (v * weights[0]).sum(),
            "a plain sum": lambda: spikes.sum(),
        }[self.used]()
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return (spikes.detach(), v.detach()), dict(zip(leaves, found, strict=True))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    tau = draw(st.one_of(st.sampled_from([2.0, 1.01, 100.0, math.inf]), st.floats(1.01, 100.0)))
    spec = LIFSpec(
        tau=tau,
        decay_input=draw(st.booleans()) and math.isfinite(tau),
        v_reset=draw(st.sampled_from([0.0, None, 0.2, -0.5])),
        detach_reset=draw(st.booleans()),
        surrogate=draw(st.sampled_from(SURROGATES)),
        alpha=draw(st.floats(0.5, 100.0)),
    )
    layout = draw(st.sampled_from(LAYOUTS))
    shape = [
        draw(st.integers(1, 7)),
        draw(st.integers(1, 4)),
        *draw(st.lists(st.sampled_from([1, 3, 17, 40]), max_size=2)),
    ]
    if layout.startswith("repeated"):
        shape["TB".index(layout[-1])] = 1
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1.0, 3.0, 100.0, 1e6]))
    x = (torch.randn(shape, generator=random) * scale + 0.5).to(dtype)
    made = Call(spec, x, layout, 0.7, None, draw(st.sampled_from(["spikes", "membrane", "both", "a plain sum"])))
    form = draw(st.sampled_from(["float", "0-d", "tensor"]))
    threshold: Tensor | float = 0.7
    if form != "float":
        axes = () if form == "0-d" else tuple(draw(st.sampled_from([1, size])) for size in made.shape)
        threshold = (0.25 + torch.rand(axes, generator=random)).to(dtype)
    state = torch.randn(made.shape[1:], generator=random).to(dtype) if draw(st.booleans()) else None
    return Call(spec, x, layout, threshold, state, made.used)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(call=calls())
def test_any_call_is_the_oracles_to_the_bit(make: Make, call: Call) -> None:
    results, got = call.run(make(call.spec))
    expected, want = call.run(TorchNeuron(call.spec))
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one, other)
    largest = max((float(x.abs().max()) for x in want.values() if x is not None), default=0.0)
    for name, gradient in want.items():
        found = got[name]
        assert (found is None) == (gradient is None), name
        if found is None or gradient is None:
            continue
        added_up = name != "state" and gradient.shape != call.shape
        if added_up and not (name == "threshold" and gradient.shape == (1, *call.shape[1:])):
            assert float((found - gradient).abs().max()) <= 100 * torch.finfo(found.dtype).eps * largest, name
        else:
            assert torch.equal(found, gradient), name


def test_what_is_not_finite_goes_where_the_oracle_lets_it(make: Make) -> None:
    x = torch.tensor([0.5, float("inf"), float("-inf"), float("nan"), 1e30]).repeat(3, 4, 1)
    for spec in (LIFSpec(), LIFSpec(v_reset=None), LIFSpec(decay_input=False, detach_reset=True)):
        found = []
        for neuron in (TorchNeuron(spec), make(spec)):
            leaf = x.clone().requires_grad_()
            spikes, v = neuron.scan(leaf, None, 0.7)
            found.append((spikes, v, *torch.autograd.grad(spikes.sum(), leaf)))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one.isnan(), other.isnan())
            assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_of_transposed_currents_the_sigmoid_s_gradients_agree_to_rounding(make: Make) -> None:
    """The bits of torch's own sigmoid depend on where in memory a number lies."""
    spec = LIFSpec(surrogate="sigmoid")
    for seed in range(10):
        x = torch.randn(6, 5, 7, 19, generator=torch.Generator().manual_seed(seed))
        call = Call(spec, x, "transposed", 0.6, None, "both")
        results, got = call.run(make(spec))
        expected, want = call.run(TorchNeuron(spec))
        for one, other in zip(results, expected, strict=True):
            assert torch.equal(one, other)
        found, gradient = got["currents"], want["currents"]
        assert found is not None
        assert gradient is not None
        assert float((found - gradient).abs().max()) <= 10 * torch.finfo(x.dtype).eps * float(gradient.abs().max())
