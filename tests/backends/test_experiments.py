"""What the experiments say of right and of wrong neurons."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from neurozoo.backends.experiments import EXPERIMENTS, traits
from neurozoo.core.equations import charge, reset, spike
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.errors import SpikingError


def found(neuron: type[Neuron]) -> dict[str, str]:
    return {trait.name: trait.found for trait in traits(neuron)}


ORACLE = {
    "membrane equal to the threshold": "fires",
    "reset": "in the same step",
    "gradient through the reset": "flows",
    "input is added as": "x / tau",
    "input with decay_input off": "x",
    "surrogate": "atan, alpha 2",
    "surrogate's height": "1, half of it at 0.318",
    "gradient of a tensor threshold": "yes",
    "soft reset subtracts the threshold of": "its own step's",
    "membrane after the threshold fell below it": "as it was",
    "bfloat16": "kept",
    "membrane between calls": "explicit",
    "rounding of the leak": "to the last bit",
    "refuses": "nothing",
}


def test_the_oracle() -> None:
    assert found(TorchNeuron) == ORACLE
    assert list(found(TorchNeuron)) == list(EXPERIMENTS)


class Silent(TorchNeuron):
    """Silent where the membrane equals the threshold."""

    def step(self, current, state, threshold, params=None):
        return super().step(current, state, torch.nextafter(torch.as_tensor(threshold), torch.tensor(9.0)))


class Late(TorchNeuron):
    """Resets at the beginning of the next step, by that step's threshold."""

    def step(self, current, state, threshold, params=None):
        spec = self.spec
        v = reset(state[0], (state[0] >= threshold).to(current), threshold, spec.v_reset)
        h = charge(v, current, spec.tau, spec.decay_input, spec.v_reset or 0.0)
        return spike(h - threshold, spec.surrogate, spec.alpha), (h,)


class Detached(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(replace(spec, detach_reset=True))


class Unscaled(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(replace(spec, decay_input=False))


class Sigmoid(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(replace(spec, surrogate="sigmoid", alpha=4.0))


class Bell(TorchNeuron):
    """A surrogate that the core does not have."""

    def step(self, current, state, threshold, params=None):
        class Spike(torch.autograd.Function):
            @staticmethod
            def forward(ctx, u):
                ctx.save_for_backward(u)
                return (u >= 0).to(u)

            @staticmethod
            def backward(ctx, g):
                return g * 2.0 ** -(2 * ctx.saved_tensors[0]).square()

        h = charge(state[0], current, self.spec.tau, self.spec.decay_input, self.spec.v_reset or 0.0)
        s = Spike.apply(h - threshold)
        return s, (reset(h, s, threshold, self.spec.v_reset),)


class NoGradient(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        s, v = super().step(current.detach(), (state[0].detach(),), threshold, params)
        return s.detach(), (v[0].detach(),)


class DeafThreshold(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        return super().step(current, state, threshold.detach() if isinstance(threshold, Tensor) else threshold)


class WrongThreshold(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        doubled = threshold + (threshold - threshold.detach()) if isinstance(threshold, Tensor) else threshold
        return super().step(current, state, doubled)


class Hidden(TorchNeuron):
    """Starts from where it last stopped, whatever it is told."""

    kept: tuple[Tensor, ...] | None = None

    def scan(self, currents, state=None, threshold=1.0, params=None):
        if self.kept is not None and self.kept[0].shape == currents[0].shape:
            state = (self.kept[0] * 0.5,)
        spikes, self.kept = super().scan(currents, state, threshold, params)
        return spikes, self.kept


class Float32(TorchNeuron):
    def step(self, current, state, threshold, params=None):
        return super().step(current.float(), (state[0].float(),), threshold, params)


class Multiplies(TorchNeuron):
    """The leak as a product, which rounds otherwise."""

    def step(self, current, state, threshold, params=None):
        h = (1 - 1 / self.spec.tau) * state[0] + current / self.spec.tau
        s = spike(h - threshold, self.spec.surrogate, self.spec.alpha)
        return s, (reset(h, s, threshold, self.spec.v_reset),)


class Refuses(TorchNeuron):
    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(spec)
        if spec.v_reset is None:
            raise SpikingError("no soft reset here")


@pytest.mark.parametrize(
    ("neuron", "name", "said"),
    [
        (Silent, "membrane equal to the threshold", "silent"),
        (Late, "reset", "one step late"),
        (Late, "gradient through the reset", "detached"),
        (Late, "soft reset subtracts the threshold of", "the next step's, before the leak"),
        (Late, "membrane after the threshold fell below it", "reset without a spike"),
        (Detached, "gradient through the reset", "detached"),
        (Unscaled, "input is added as", "x"),
        (Sigmoid, "surrogate", "sigmoid, alpha 4"),
        (Sigmoid, "surrogate's height", "1, half of it at 0.441"),
        (Bell, "surrogate's height", "1, half of it at 0.5"),
        (NoGradient, "surrogate", "none: no gradient"),
        (NoGradient, "gradient of a tensor threshold", "none"),
        (DeafThreshold, "gradient of a tensor threshold", "none"),
        (WrongThreshold, "gradient of a tensor threshold", "wrong: 2 times"),
        (Hidden, "membrane between calls", "hidden"),
        (Float32, "bfloat16", "spikes float32, membrane float32"),
        (Multiplies, "rounding of the leak", "within 1 units in the last place"),
        (Refuses, "refuses", "a soft reset"),
        (Refuses, "soft reset subtracts the threshold of", "refused"),
    ],
)
def test_what_is_wrong_is_found(neuron: type[Neuron], name: str, said: str) -> None:
    assert found(neuron)[name] == said


def test_a_surrogate_that_the_core_does_not_have_is_only_near_one() -> None:
    assert ", nearest: off by 0." in found(Bell)["surrogate"]


def test_right_neurons_differ_in_nothing_else() -> None:
    for neuron, names in ((Silent, {"membrane equal to the threshold"}), (Detached, {"gradient through the reset"})):
        assert {name for name, said in found(neuron).items() if said != ORACLE[name]} == names
