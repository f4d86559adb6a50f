"""The dynamic-threshold LIF, built from SpikingJelly's ``LIFNode``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from neurozoo.core.equations import spike
from neurozoo.core.interfaces import LIFSpec, Neuron, steps_of
from neurozoo.errors import SpikingError


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Drop what a logger says. By a filter, for torch resets the levels of its loggers as it is imported."""
    logger = logging.getLogger(name)

    def drop(_record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


# SpikingJelly registers its operators at the first call, and where Triton is not installed torch logs
# a warning for each: so the first call is here.
with _quiet("torch._library.triton"):
    from spikingjelly.activation_based import surrogate
    from spikingjelly.activation_based.neuron import LIFNode

    LIFNode()(torch.zeros(1, 1))

__all__ = ["SpikingJellyNeuron"]


class SpikingJellyNeuron(Neuron):
    """LIF by SpikingJelly: its operator (on a GPU, its kernels) for a float threshold, its reference path for a tensor.

    The node is made anew for each call and driven through its functional form, state in and state
    out. Nothing of a call is left on anything, so the neuron can be copied, pickled and shared.
    """

    runs = "spikingjelly.activation_based: neuron.LIFNode, surrogate.ATan, surrogate.Sigmoid"

    def __init__(self, spec: LIFSpec) -> None:
        super().__init__(spec)
        self._stock, self._reference = _surrogates(spec)

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        spikes, v = self._run(current.unsqueeze(0), state, threshold)
        return spikes.squeeze(0), v

    def scan(
        self, currents: Tensor, state: Tensor | None = None, threshold: Tensor | float = 1.0
    ) -> tuple[Tensor, Tensor]:
        thresholds = steps_of(threshold, currents)
        if any(level is not thresholds[0] for level in thresholds):
            return super().scan(currents, state, threshold)
        v = self.initial_state(currents[0]) if state is None else state
        return self._run(currents, v, thresholds[0])

    def _run(self, currents: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        """All steps at one threshold."""
        if state.shape != currents.shape[1:]:
            raise SpikingError(
                f"a state of shape {list(state.shape)} does not fit a step's current of shape "
                f"{list(currents.shape[1:])}; give one membrane a neuron, or None to start from rest"
            )
        # The operator takes no tensor threshold, would give it no gradient, and refuses an empty batch.
        stock = not isinstance(threshold, Tensor) and currents.numel() > 0
        node = LIFNode(
            tau=float(self.spec.tau),
            decay_input=self.spec.decay_input,
            v_reset=None if self.spec.v_reset is None else float(self.spec.v_reset),
            surrogate_function=self._stock if stock else self._reference,
            detach_reset=self.spec.detach_reset,
            step_mode="m",
        )
        node.v_threshold = threshold  # its constructor accepts a float only
        (spikes,), (v,) = node.multi_step_functional_forward((currents,), (state,))
        return spikes, v


# SpikingJelly runs its operator where the surrogate is exactly one of its own classes, and
# plain torch for every other, subclasses of them included.


class _ReferenceATan(surrogate.ATan):  # type: ignore[misc]
    pass


class _ReferenceSigmoid(surrogate.Sigmoid):  # type: ignore[misc]
    pass


class _SuperSpike(surrogate.SurrogateFunctionBase):  # type: ignore[misc]
    """Its own SuperSpike is ``alpha / (1 + |u|)^2``, another function."""

    @staticmethod
    def spiking_function(x: Tensor, alpha: float) -> Tensor:
        return spike(x, "superspike", alpha)


def _surrogates(spec: LIFSpec) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The surrogate for the operator and the one for the reference path."""
    if spec.surrogate == "atan":
        return surrogate.ATan(spec.alpha), _ReferenceATan(spec.alpha)
    if spec.surrogate == "sigmoid":
        return surrogate.Sigmoid(spec.alpha), _ReferenceSigmoid(spec.alpha)
    own = _SuperSpike(alpha=spec.alpha)
    return own, own
