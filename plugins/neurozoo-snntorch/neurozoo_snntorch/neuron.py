"""The dynamic-threshold LIF, built from snnTorch's ``Leaky``."""

from __future__ import annotations

from functools import partial

import torch
from snntorch import Leaky, SpikingNeuron
from torch import Tensor

from neurozoo.core.equations import lif_reset, spike
from neurozoo.core.interfaces import Neuron, steps_of
from neurozoo.errors import SpikingError

__all__ = ["SnnTorchNeuron"]


class SnnTorchNeuron(Neuron):
    """LIF by snnTorch: ``Leaky`` integrates and fires, the reset is applied outside.

    Leaky's own resets come a step late, are detached, and apply the new threshold to the old
    membrane. Its leak is ``beta v + x`` with ``beta = 1 - 1/tau``, the same number as the oracle's
    but for rounding: the backend is inexact.

    A Leaky is made anew for each call, because it keeps the last membrane and threshold as buffers.
    """

    runs = "snntorch: Leaky"
    graph_breaks = True  # Leaky's constructor branches on a tensor

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return self._step(self._leaky(), current, state, threshold)

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        thresholds = steps_of(threshold, currents)
        v = self.initial_state(currents[0]) if state is None else state
        leaky = self._leaky()
        spikes: list[Tensor] = []
        for current, level in zip(currents.unbind(0), thresholds, strict=True):
            s, v = self._step(leaky, current, v, level)
            spikes.append(s)
        return torch.stack(spikes), v

    def _step(self, leaky: Leaky, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        if state.shape != current.shape:  # Leaky would silently start from zeros
            raise SpikingError(
                f"a state of shape {list(state.shape)} does not fit a step's current of shape "
                f"{list(current.shape)}; give one membrane a neuron, or None to start from rest"
            )
        spec = self.spec
        drive = (current + spec.rest) / spec.tau if spec.decay_input else current + spec.rest / spec.tau
        # A view, for a module would register a Parameter, and then take nothing else under that name.
        leaky.threshold = threshold.view_as(threshold) if isinstance(threshold, Tensor) else _scalar(threshold)
        s, h = leaky(drive, state)
        return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)

    def _leaky(self) -> Leaky:
        leaky = Leaky(
            beta=_scalar(1 - 1 / self.spec.tau),
            # snnTorch's own surrogates are silent where the membrane equals the threshold, return
            # float32 whatever comes in, and its sigmoid overflows far below the threshold.
            spike_grad=partial(spike, surrogate=self.spec.surrogate, alpha=self.spec.alpha),
            reset_mechanism="none",
        )
        # Every instance is kept in a list of the library's for its init_hidden mode: unused here, and a leak.
        if leaky in SpikingNeuron.instances:
            SpikingNeuron.instances.remove(leaky)
        return leaky


def _scalar(value: float) -> Tensor:
    """A 0-d tensor of full precision; it takes part in any dtype and on any device."""
    return torch.tensor(value, dtype=torch.float64)
