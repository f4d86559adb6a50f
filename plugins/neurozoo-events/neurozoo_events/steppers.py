"""Steps of one sample, one at a time, whose state stays where the kernels read and write it; for streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from neurozoo.core.layer_run import Numbers, Stepper
from neurozoo.core.neuron import State
from neurozoo.nn.affine import Delays
from neurozoo_events.arrays import Synapses, flat
from neurozoo_events.kernel import delay_step, layer_loop

if TYPE_CHECKING:
    from neurozoo_events.engine import EventLayer

__all__ = ["CurrentStepper", "DelayStepper", "EventStepper"]


class EventStepper(Stepper):
    """Steps of a layer whose synapse is a matrix, or that has none.

    Args:
        run: The layer.
        given: ``(D,)``.
        threshold: As of :meth:`EventLayer.run`.
        state: Before the first step; None for rest.
    """

    def __init__(
        self, run: EventLayer, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None
    ) -> None:
        self._layer, self._kernel = run, layer_loop()
        self._neurons = run.neurons_of(given[0])
        self._states, self._fired = run.start(None, self._neurons)
        self._outputs = torch.empty(1, 1, self._neurons)
        self._made = flat(self._outputs)
        self._arguments = run.arguments(threshold, self._states, self._fired, self._outputs)
        super().__init__(run, given, threshold, state)

    @property
    def state(self) -> State | None:
        """Copies of the states after the last step, ``[1, N]`` each."""
        after = self._states.clone().unbind(0)
        return (*after, self._fired.clone()) if self._layer.returns else after

    @state.setter
    def state(self, state: State | None) -> None:
        states, fired = self._layer.start(state, self._neurons)
        self._states.copy_(states)
        self._fired.copy_(fired)

    def step(self, x: Numbers) -> Numbers:
        self._kernel(x, *self._arguments)
        return self._made


class CurrentStepper(EventStepper):
    """Steps of a layer whose synapse, such as an encoder, runs as it is; arguments as of :class:`EventStepper`."""

    def step(self, x: Numbers) -> Numbers:
        made: Numbers = self._layer.currents_of(torch.from_numpy(x).view(1, 1, -1)).reshape(-1).numpy()
        return super().step(np.ascontiguousarray(made))


class DelayStepper(EventStepper):
    """Steps of a layer whose synapses have delays: the currents of the steps to come are kept in a ring.

    The last tensor of the state is these currents ``[1, M, N]`` before gain and shift, those of the next step first.

    Args:
        run: The layer.
        given: ``(D,)``.
        threshold: As of :meth:`EventLayer.run`.
        state: Before the first step; None for rest.
        delays: The synapses.
        synapses: The same by input.
    """

    def __init__(
        self,
        run: EventLayer,
        given: Sequence[int],
        threshold: Tensor | float,
        state: State | None,
        delays: Delays,
        synapses: Synapses,
    ) -> None:
        neurons, inputs, self._steps = delays.kernels.shape
        self._ring = torch.zeros(1, self._steps, neurons)
        self._current = np.empty(neurons, np.float32)
        self._now = 0
        found = np.empty(inputs + 1, np.int64), np.empty(inputs + 1, np.float32)
        self._late = (
            *synapses, flat(delays.gain), flat(delays.shift), flat(self._ring), self._steps, *found, self._current
        )  # fmt: skip
        self._delayed = delay_step()
        super().__init__(run, given, threshold, state)

    @property
    def state(self) -> State | None:
        """Copies of the states after the last step, ``[1, N]`` each, and the currents to come."""
        return (*(super().state or ()), self._ring.roll(-self._now, 1))

    @state.setter
    def state(self, state: State | None) -> None:
        names = self._layer.state_tensors
        self._now = 0
        self._ring.zero_()
        if state is not None and len(state) > names:
            self._ring.copy_(state[-1])
        EventStepper.state.fset(self, None if state is None else state[:names])  # type: ignore[attr-defined]

    def step(self, x: Numbers) -> Numbers:
        self._delayed(x, self._now, *self._late)
        self._now = (self._now + 1) % self._steps
        return super().step(self._current)
