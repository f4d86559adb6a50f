"""A fused backend against the oracle: spikes and states to the last bit, gradients to rounding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neurozoo.core.equations import SURROGATES
from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, IFSpec, LIFSpec, LISpec, PLIFSpec, ReLUSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron, NeuronSpec

Make = Callable[[NeuronSpec], Neuron]
LAYOUTS = ("dense", "transposed", "strided", "repeated over T", "repeated over B")


@dataclass(frozen=True)
class Case:
    """A neuron, and which of its parameters are tensors: one for the layer, or one per neuron or channel."""

    spec: NeuronSpec
    scope: str = ""
    learned: tuple[str, ...] = ()
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        fields = {name: value for name, value in vars(self.spec).items() if value != getattr(type(self.spec), name)}
        return f"{self.spec.kind} {fields} {self.scope} {' '.join(self.learned)} {self.dtype}".replace("  ", " ")


CASES = [
    Case(LIFSpec()),
    Case(LIFSpec(v_reset=None, tau=1.7, decay_input=False), dtype=torch.float64),
    Case(LIFSpec(v_reset=0.2), "neuron", ("tau", "v_reset")),
    Case(IFSpec(v_reset=None)),
    Case(PLIFSpec(), "layer", ("leak",)),
    Case(AdLIFSpec(coupling=0.1)),
    Case(ALIFSpec(refractory=2)),
    Case(CubaSpec(v_reset=0.2)),
    Case(LISpec(v_rest=0.2)),
    Case(ReLUSpec()),
]
FURTHER = [
    Case(LIFSpec(v_reset=-0.5, tau=3.3, tie="silent")),
    Case(AdLIFSpec(), "neuron", ("membrane_decay", "adaptation_decay", "coupling", "jump")),
    Case(CubaSpec(), "neuron", ("synapse_decay", "membrane_decay", "gain", "v_reset")),
    Case(CubaSpec(order="fire-first"), "channel", ("synapse_decay", "membrane_decay", "v_reset"), torch.float64),
    Case(LISpec(), "neuron", ("decay", "gain", "v_rest")),
    Case(LIFSpec(v_reset=None, decay_input=False), "channel", ("tau",)),
    Case(LIFSpec(), "layer", ("tau",)),
    Case(IFSpec(), "layer", ("v_reset",)),
    Case(PLIFSpec(decay_input=False, v_reset=0.2), "neuron", ("leak", "v_reset")),
    Case(ALIFSpec(), "channel", ("membrane_decay", "adaptation_decay", "adaptation"), torch.float64),
    Case(CubaSpec(v_reset=None, order="fire-first"), "layer", ("gain",)),
]
"""Further forms of parameters, each of which numba compiles; `make test-large` runs them."""


@dataclass(frozen=True)
class Call:
    """One call of a neuron, and which of its results is used."""

    spec: NeuronSpec
    currents: Tensor
    layout: str
    threshold: Tensor
    state: tuple[Tensor, ...] | None
    params: dict[str, Tensor]
    used: str

    def shape(self) -> torch.Size:
        steps, batch, *rest = self.currents.shape
        steps = 6 if self.layout == "repeated over T" else steps
        return torch.Size((steps, 4 if self.layout == "repeated over B" else batch, *rest))

    def run(self, neuron: Neuron) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs and states, and the gradients of all that came in."""
        leaves = [self.currents, self.threshold, *(self.state or ()), *self.params.values()]
        leaves = [leaf.clone().requires_grad_() for leaf in leaves]
        x, threshold, *rest = leaves
        state = tuple(rest[: len(self.state)]) if self.state else None
        params = dict(zip(self.params, rest[len(self.state or ()) :], strict=True))
        if self.layout == "transposed":
            x = x.transpose(0, -1).contiguous().transpose(0, -1)
        elif self.layout == "strided":
            x = torch.stack([x, -x], -1)[..., 0]
        else:
            x = x.expand(self.shape())
        out, after = neuron.scan(x, state, threshold, params or None)
        random = torch.Generator().manual_seed(1)
        weights = torch.randn(out.shape, generator=random, dtype=out.dtype)
        loss = out.new_zeros(())
        if self.used == "a plain sum":
            loss = loss + out.sum()
        if self.used in ("outputs", "both"):
            loss = loss + (out * weights).sum()
        if self.used in ("states", "both"):
            loss = loss + sum((each * weights[0] * (k + 1)).sum() for k, each in enumerate(after))
        if not loss.requires_grad:
            loss = loss + x.sum()
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
        gradients = [torch.zeros_like(leaf) if each is None else each for leaf, each in zip(leaves, found, strict=True)]
        return [out.detach(), *(each.detach() for each in after)], gradients


def drawn(data: st.DataObject, case: Case) -> Call:
    spec: Any = case.spec
    if spec.spiking:
        spec = replace(
            spec,
            detach_reset=data.draw(st.booleans()),
            surrogate=data.draw(st.sampled_from(SURROGATES)),
            alpha=data.draw(st.floats(0.5, 20.0)),
        )
    layout = data.draw(st.sampled_from(LAYOUTS))
    shape = [data.draw(st.integers(1, 7)), data.draw(st.integers(1, 4))]
    shape += (
        [data.draw(st.sampled_from([1, 3, 40])), 3, 5]
        if case.scope == "channel"
        else [data.draw(st.sampled_from([1, 17, 40]))]
    )
    if layout.startswith("repeated"):
        shape["TB".index(layout[-1])] = 1
    random = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32 - 1)))

    def uniform(*sizes: int) -> Tensor:
        return torch.rand(sizes, generator=random, dtype=case.dtype)

    scale = data.draw(st.sampled_from([1.0, 3.0, 100.0]))
    x = torch.randn(shape, generator=random, dtype=case.dtype) * scale + 0.5
    call = Call(
        spec, x, layout, uniform(), None, {}, data.draw(st.sampled_from(["outputs", "states", "both", "a plain sum"]))
    )
    full = call.shape()
    axes = () if data.draw(st.booleans()) else tuple(data.draw(st.sampled_from([1, size])) for size in full)
    scope = {"neuron": full[2:], "channel": (full[2], 1, 1)}.get(case.scope, ())
    params = {name: (1.1 if name == "tau" else 0.05) + 0.9 * uniform(*scope) for name in case.learned}
    state = tuple(torch.randn(full[1:], generator=random, dtype=case.dtype) for _ in spec.states)
    return replace(
        call,
        threshold=0.25 + uniform(*axes),
        params=params,
        state=state if state and data.draw(st.booleans()) else None,
    )


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(each, marks=pytest.mark.slow) for each in FURTHER)], ids=str)
@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data())
def test_any_call_is_the_oracles(make: Any, case: Case, data: st.DataObject) -> None:
    if not make.supports(case.spec):
        pytest.skip(make.refusal(case.spec))
    call = drawn(data, case)
    results, got = call.run(make(call.spec))
    expected, want = call.run(TorchNeuron(call.spec))
    for one, other in zip(results, expected, strict=True):
        assert torch.equal(one, other)
    largest = max(float(each.abs().max()) for each in want)
    for found, gradient in zip(got, want, strict=True):
        assert found.shape == gradient.shape
        assert float((found - gradient).abs().max()) <= 300 * torch.finfo(found.dtype).eps * (1 + largest)


@pytest.mark.parametrize("tie", ["fires", "silent"])
def test_a_membrane_at_its_threshold_fires_or_not(make: Make, tie: Any) -> None:
    x = torch.ones(2, 3, 40)
    found = [neuron(LIFSpec(decay_input=False, tie=tie)).scan(x, None, 1.0)[0] for neuron in (make, TorchNeuron)]
    assert torch.equal(*found)
    assert bool(found[0][0].all()) is (tie == "fires")


def test_what_is_not_finite_goes_where_the_oracle_lets_it(make: Make) -> None:
    x = torch.tensor([0.5, float("inf"), float("-inf"), float("nan"), 1e30]).repeat(3, 4, 1)
    for spec in (LIFSpec(), LIFSpec(v_reset=None), LIFSpec(decay_input=False, detach_reset=True)):
        found = []
        for neuron in (TorchNeuron(spec), make(spec)):
            leaf = x.clone().requires_grad_()
            spikes, (v,) = neuron.scan(leaf, None, 0.7)
            found.append((spikes, v, *torch.autograd.grad(spikes.sum(), leaf)))
        for one, other in zip(*found, strict=True):
            assert torch.equal(one.isnan(), other.isnan())
            assert torch.allclose(one.nan_to_num(), other.nan_to_num())


def test_a_number_given_to_a_call_replaces_the_specifications(make: Make) -> None:
    x = torch.randn(5, 4, 40, generator=torch.Generator().manual_seed(0)) + 0.5
    params = {"tau": 3.3, "v_reset": -0.1}
    (got, (v,)), (want, (u,)) = (neuron(LIFSpec()).scan(x, None, 0.7, params) for neuron in (make, TorchNeuron))
    assert torch.equal(got, want)
    assert torch.equal(v, u)


def test_in_chunks_it_is_the_same(make: Any) -> None:
    if not make.supports(CubaSpec()):
        pytest.skip(make.refusal(CubaSpec()))
    x, neuron = torch.randn(6, 4, 40, generator=torch.Generator().manual_seed(0)) + 0.5, make(CubaSpec())
    whole, last = neuron.scan(x)
    first, state = neuron.scan(x[:2])
    second, state = neuron.scan(x[2:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(map(torch.equal, state, last))
