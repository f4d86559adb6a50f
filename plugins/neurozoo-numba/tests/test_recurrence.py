"""Layers whose outputs return a step later: one function of autograd, equal to the loop of the core."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from neurozoo_numba import recurrence as module
from neurozoo_numba.neuron import NumbaNeuron
from torch import Tensor, nn

from neurozoo.core.kinds import AdLIFSpec, ALIFSpec, CubaSpec, LIFSpec, PLIFSpec
from neurozoo.core.layer import Learned, SpikingLayer, TorchNeuron
from neurozoo.core.neuron import NeuronSpec
from neurozoo.core.recording import Recorded

STEPS, BATCH, WIDTH = 7, 5, 33
SPECS = {
    "lif": LIFSpec(),
    "plif": PLIFSpec(v_reset=None),
    "adlif": AdLIFSpec(surrogate="box", alpha=1.0),
    "alif": ALIFSpec(refractory=2, surrogate="triangle", alpha=0.3),
    "cuba": CubaSpec(order="fire-first", detach_reset=True, surrogate="superspike"),
}


def results(
    neuron: type[Any],
    spec: NeuronSpec,
    threshold: Tensor | float,
    *,
    detach: bool,
    start: bool,
    learned: bool,
    recorded: bool,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return outputs, currents and last states of a layer, and the gradients of all that enters it."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    back = nn.Linear(WIDTH, WIDTH, bias=False)
    back.weight = nn.Parameter(draw(WIDTH, WIDTH) * 0.3)
    each = {"membrane_decay": Learned((0.5, 0.9), "neuron")} if learned else None
    layer = SpikingLayer(
        neuron(spec), shape=(WIDTH,), recurrent=back, self_connections=False, detach_recurrent=detach, learned=each
    )
    for stored in layer.stored.values():
        stored.data = 0.5 + 0.4 * torch.rand(WIDTH, generator=random)
    currents = (draw(STEPS, BATCH, WIDTH) * 2 + 0.5).requires_grad_()
    level = threshold.clone().requires_grad_() if isinstance(threshold, Tensor) else threshold
    state = None
    if start:
        state = tuple(draw(BATCH, WIDTH).abs().requires_grad_() for _ in range(len(spec.states) + 1))
    if recorded:
        layer.recorders.append((Recorded(), "layer"))
    outputs, after, driven = layer._run(currents, state, level)
    made = [outputs, *([driven] if recorded else []), *after]
    loss = sum((one * draw(*one.shape)).sum() for one in made)
    entered = [currents, back.weight, *layer.stored.values(), *(state or ())]
    entered += [level] if isinstance(level, Tensor) else []
    assert isinstance(loss, Tensor)
    return made, [
        torch.zeros_like(one) if gradient is None else gradient
        for one, gradient in zip(entered, torch.autograd.grad(loss, entered, allow_unused=True), strict=True)
    ]


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    ("detach", "start", "learned"),
    [(False, False, True), (True, True, True), (False, True, True), (False, False, False), (True, False, False)],
)
@pytest.mark.parametrize("threshold", [0.8, torch.rand(STEPS, 1, 1) + 0.5, torch.rand(1, 1, WIDTH) + 0.5])
@pytest.mark.parametrize("recorded", [True, False])
def test_it_equals_the_loop(
    kind: str, detach: bool, start: bool, learned: bool, threshold: Tensor | float, recorded: bool
) -> None:
    learned = learned and kind in ("adlif", "alif")
    options = {"detach": detach, "start": start, "learned": learned, "recorded": recorded}
    expected = results(TorchNeuron, SPECS[kind], threshold, **options)
    made = results(NumbaNeuron, SPECS[kind], threshold, **options)
    outputs = expected[0][0]
    assert 0 < outputs.mean() < 1
    assert torch.equal(made[0][0], outputs)
    assert torch.equal(made[0][1], expected[0][1])
    for one, other in zip(made[0] + made[1], expected[0] + expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.detach().abs().max()) + 1e-12)


def test_without_gradients_no_states_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    run = module._Recurrence.forward

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return run(*arguments)

    monkeypatch.setattr(module._Recurrence, "forward", staticmethod(counted))
    layer = SpikingLayer(NumbaNeuron(LIFSpec()), recurrent=nn.Linear(WIDTH, WIDTH, bias=False))
    with torch.no_grad():
        spikes = layer(torch.ones(STEPS, BATCH, WIDTH))
    assert calls
    assert spikes.shape == (STEPS, BATCH, WIDTH)
    assert not spikes.requires_grad


def test_a_gain_takes_the_loop() -> None:
    back = nn.Linear(WIDTH, WIDTH, bias=False)
    x = torch.randn(STEPS, BATCH, WIDTH)
    made = [SpikingLayer(neuron(LIFSpec()), recurrent=back, gain=True)(x, 0.5) for neuron in (TorchNeuron, NumbaNeuron)]
    assert torch.equal(made[0], made[1])


def test_the_exponential_is_within_two_units_in_the_last_place() -> None:
    import numpy as np
    from neurozoo_numba.streaming import OPTIONS, exponential
    from numba import njit

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def fill(x: Any, out: Any) -> None:
        for i in range(x.shape[0]):
            out[i] = exponential(x[i])

    x = np.linspace(-87, 88, 200_001).astype(np.float32)
    out = np.empty_like(x)
    fill(x, out)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(out - exact) / np.spacing(exact.astype(np.float32))).max() < 2
    odd = np.array([np.nan, np.inf, -np.inf], np.float32)
    out = np.empty_like(odd)
    fill(odd, out)
    assert np.isnan(out[0])
    assert np.isinf(out[1])
    assert out[2] < 1e-37
