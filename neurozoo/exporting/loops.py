"""Neurons whose steps over time stay a loop in an exported program, in place of being written out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from neurozoo.core.layer import TorchNeuron
from neurozoo.core.model import Model
from neurozoo.core.neuron import Params, Recurrent, State, check_params, check_threshold, without_diagonal
from neurozoo.core.recording import neuron_layers

__all__ = ["LONG", "LoopNeuron", "with_loops"]

LONG = 12
"""Steps from which they are a loop; fewer are written out, which runs faster."""


class LoopNeuron(TorchNeuron):
    """Runs the steps of the backend ``torch``, in the same order, as one operation of the program: a scan.

    A program with a loop has the size of one step, and ONNX has the same operation.
    """

    runs = "neurozoo.core.kinds: the step of each specification, in torch's scan"

    def scan(
        self,
        currents: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        params: Params | None = None,
    ) -> tuple[Tensor, State]:
        if len(currents) < LONG or not self.spec.temporal:
            return super().scan(currents, state, threshold, params)
        check_threshold(threshold, currents)
        used = check_params(self.spec.complete(params), currents)
        levels = threshold.to(currents.dtype) if isinstance(threshold, Tensor) and threshold.dim() else threshold
        by_step = isinstance(levels, Tensor) and levels.dim() > 0 and len(levels) > 1
        every = levels[0] if isinstance(levels, Tensor) and levels.dim() and not by_step else levels

        def step(carried: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
            output, after = self.spec.step(given[0], carried, given[1] if by_step else every, used)
            # The loop takes no tensor twice, neither as two states nor as state and output.
            return tuple(each.clone() for each in after), output.clone()

        start = self.initial_state(currents[0], used) if state is None else state
        over = (currents, levels) if by_step and isinstance(levels, Tensor) else (currents,)
        after, outputs = _loop(step, tuple(each.clone() for each in start), over)
        return outputs, after

    def recur(
        self,
        currents: Tensor,
        weight: Tensor,
        state: State | None,
        threshold: Tensor | float,
        params: Params | None,
        *,
        detach: bool = False,
        gain: bool = False,
        self_connections: bool = True,
        driven: bool = True,
    ) -> Recurrent:
        by_step = isinstance(threshold, Tensor) and threshold.dim() > 0
        if len(currents) < LONG or driven or by_step:
            return super().recur(
                currents, weight, state, threshold, params,
                detach=detach, gain=gain, self_connections=self_connections, driven=driven,
            )  # fmt: skip
        weight = weight if self_connections else without_diagonal(weight)
        used = check_params(self.spec.complete(params), currents)
        level = 1.0 if gain else threshold

        def step(carried: tuple[Tensor, ...], given: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor]:
            whole = given[0] + linear(carried[-1], weight)
            output, after = self.spec.step(whole / threshold if gain else whole, carried[:-1], level, used)
            return (*(each.clone() for each in after), output.clone()), output.clone()

        start = state
        if start is None:
            start = (*self.initial_state(currents[0], used), torch.zeros_like(currents[0]))
        after, outputs = _loop(step, tuple(each.clone() for each in start), (currents,))
        return Recurrent(outputs, after, None)


def _loop(step: Callable[..., Any], start: tuple[Tensor, ...], over: tuple[Tensor, ...]) -> tuple[State, Tensor]:
    from torch._higher_order_ops.scan import scan  # torch has no public name for it yet

    after, outputs = scan(step, start, over)
    return after, outputs


def with_loops(model: Model) -> Model:
    """Return a copy of a model for :func:`torch.export.export`, with the same weights, whose long scans are loops."""
    copied = copy.deepcopy(model)
    for layer in neuron_layers(copied).values():
        layer.neuron = LoopNeuron(layer.spec)
    return copied
