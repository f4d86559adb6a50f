from __future__ import annotations

import torch
from torch import Tensor

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import TorchNeuron
from neurozoo.core.neuron import Params, State
from neurozoo.errors import DeviceError
from neurozoo.testing.doctor import refuses_device


class Elsewhere(TorchNeuron):
    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        if currents.device.type == "cpu":
            raise DeviceError("not on a CPU")
        return super().scan(currents, state, threshold, params)


class Broken(TorchNeuron):
    def scan(self, *_: object, **__: object) -> tuple[Tensor, State]:
        raise RuntimeError("no luck")


def test_it_is_what_the_neuron_says_of_the_device() -> None:
    assert refuses_device(Elsewhere(LIFSpec()), "cpu") == "not on a CPU"
    assert refuses_device(Elsewhere(LIFSpec()), torch.device("meta")) == ""
    assert refuses_device(TorchNeuron(LIFSpec()), "cpu") == ""


def test_another_fault_is_none_of_the_device() -> None:
    assert refuses_device(Broken(LIFSpec()), "cpu") == ""
