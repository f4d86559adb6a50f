"""``norse-native`` is Norse's own neuron, and another one than the oracle's."""

from __future__ import annotations

import pytest
import torch
from neurozoo_norse.native import NorseNativeNeuron
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters, lif_box_feed_forward_step
from norse.torch.functional.reset import reset_subtract, reset_value

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import SpikingError
from neurozoo.registry.registry import default_registry


def test_it_is_registered_as_another_model() -> None:
    component = default_registry().get("neuron", "norse-native")
    assert component.native
    assert not component.exact
    assert component.summary.startswith("another model")
    assert component.requires == ("norse",)


@pytest.mark.parametrize("v_reset", [0.0, 0.2, None])
def test_it_gives_what_norses_own_function_gives(v_reset: float | None) -> None:
    currents = torch.randn(6, 3, 8, generator=torch.Generator().manual_seed(0)) * 2
    spec = LIFSpec(tau=4.0, v_reset=v_reset)
    rest = 0.0 if v_reset is None else v_reset
    parameters = LIFBoxParameters(
        tau_mem_inv=torch.tensor(0.25),
        v_leak=torch.tensor(rest),
        v_th=torch.tensor(0.75),
        v_reset=torch.tensor(rest),
        reset_method=reset_subtract if v_reset is None else reset_value,
    )
    spikes, (v,) = NorseNativeNeuron(spec).scan(currents, None, 0.75)
    state, expected = LIFBoxFeedForwardState(torch.full((3, 8), rest)), []
    for current in currents:
        z, state = lif_box_feed_forward_step(current, state, parameters, dt=1.0)
        expected.append(z)
    assert torch.equal(spikes, torch.stack(expected))
    assert torch.equal(v, state.v)
    assert 0 < spikes.mean() < 1


def test_a_tie_is_silent_where_the_oracle_fires() -> None:
    currents = torch.full((1, 1, 1), 2.0)  # h = 1
    assert TorchNeuron(LIFSpec()).scan(currents)[0].item() == 1
    assert NorseNativeNeuron(LIFSpec()).scan(currents)[0].item() == 0


def test_its_surrogate_ignores_what_the_spec_says() -> None:
    gradients = []
    for alpha in (2.0, 5.0):
        x = torch.tensor([[[1.0]]], requires_grad=True)  # h = .5, the threshold is 1
        NorseNativeNeuron(LIFSpec(alpha=alpha)).scan(x)[0].sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)
    assert gradients[0] == pytest.approx(0.5 / (1 + 0.5) ** 2)


@pytest.mark.parametrize("shape", [(), (1, 3, 1), (4, 1, 1), (1, 1, 8)])
def test_thresholds_of_every_form_get_a_gradient(shape: tuple[int, ...]) -> None:
    threshold = torch.full(shape, 0.7, requires_grad=True)
    spikes, _ = NorseNativeNeuron(LIFSpec()).scan(torch.ones(4, 3, 8), None, threshold)
    spikes.sum().backward()
    assert threshold.grad is not None
    assert bool((threshold.grad < 0).all())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (LIFSpec(decay_input=False), "Norse always divides the input by tau"),
        (LIFSpec(detach_reset=True), "Norse never detaches the reset"),
    ],
)
def test_what_norse_cannot_be_is_refused(spec: LIFSpec, words: str) -> None:
    with pytest.raises(SpikingError, match=words):
        NorseNativeNeuron(spec)
