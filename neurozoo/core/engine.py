"""Engines: who runs the layers of a trained model when it predicts.

A backend runs the neurons of a layer; an engine runs the layer whole, synapse and recurrent weights included, so that
it can leave out the work that inputs of 0 make unnecessary. It prepares a layer once, from weights that no longer
change. A layer that an engine does not run stays with its backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from neurozoo.core.layer import SpikingLayer, Synapse, by_sample
from neurozoo.core.layer_run import LayerRun, Numbers, Ran, Stepper
from neurozoo.core.neuron import State
from neurozoo.core.recording import neuron_layers
from neurozoo.errors import SpikingError

__all__ = ["Dense", "Engine", "Plan", "PlannedLayer", "attach", "dense_stepper"]


class Engine(ABC):
    """Prepares layers of neurons for prediction; registered as a component of the kind ``engine``."""

    @abstractmethod
    def layer(self, layer: SpikingLayer) -> LayerRun:
        """Prepare a layer, in evaluation mode.

        Its outputs are those of the layer on the backend ``torch``: equal to the bit if sums are added in the same
        order (:func:`neurozoo.nn.ordered.ordered_run`), else each spike is the same unless the membrane is within 8
        units in the last place of the threshold.

        Raises:
            SpikingError: The engine does not run this layer; says why.
        """


class Dense(Engine):
    """Runs every layer as it is, by its backend: each step multiplies all weights."""

    def layer(self, layer: SpikingLayer) -> LayerRun:
        return _DenseRun(layer)


class _DenseRun(LayerRun):
    dense, ordered = True, False
    words = "all weights at each step"

    def __init__(self, layer: SpikingLayer) -> None:
        self._layer = layer

    @torch.no_grad()
    def run(
        self,
        x: Tensor,
        state: State | None = None,
        threshold: Tensor | float = 1.0,
        *,
        valid: Tensor | None = None,
        driven: bool = False,
    ) -> Ran:
        currents = self._layer.currents(x, valid)
        outputs, after = self._layer.run(currents, state, by_sample(threshold, currents))
        if not driven or self._layer.recurrent is None:
            return Ran(outputs, after, currents if driven else None)
        before = torch.zeros_like(outputs[:1]) if state is None else state[-1][None]
        return Ran(outputs, after, currents + self._layer.returned(torch.cat((before, outputs[:-1]))))

    def stepper(self, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None) -> Stepper:
        return dense_stepper(self._layer, given, threshold, state)


def dense_stepper(
    layer: SpikingLayer, given: Sequence[int], threshold: Tensor | float = 1.0, state: State | None = None
) -> Stepper:
    """Return what runs a layer step by step as it is, see :meth:`~neurozoo.core.layer_run.LayerRun.stepper`.

    Raises:
        SpikingError: Later inputs have a part in the currents of a step.
    """
    run = _DenseRun(layer)
    if not (isinstance(layer.synapse, Synapse) and layer.synapse.over_time):
        return Stepper(run, given, threshold, state)
    found = layer.synapse.by_window()
    if found is None:
        raise SpikingError(f"{type(layer.synapse).__name__} has no currents of a single step; run the model whole")
    return _WindowStepper(run, layer, *found, given, threshold, state)


class _WindowStepper(Stepper):
    """Steps of a synapse over time, with the inputs that the next ones need in the state."""

    def __init__(
        self,
        run: LayerRun,
        layer: SpikingLayer,
        count: int,
        currents: Callable[[Tensor], Tensor],
        given: Sequence[int],
        threshold: Tensor | float,
        state: State | None,
    ) -> None:
        self._layer, self._count, self._currents = layer, count, currents
        super().__init__(run, given, threshold, state)

    @property
    def state(self) -> State | None:
        return None if self._state is None else (*self._state, self._window.transpose(0, 1).clone())

    @state.setter
    def state(self, state: State | None) -> None:
        names = len(self._layer.spec.states) + (self._layer.recurrent is not None)
        self._state = None if state is None else tuple(each.clone() for each in state[:names])
        if state is not None and len(state) > names:
            self._window = state[-1].transpose(0, 1).clone()
        else:
            self._window = torch.zeros(self._count - 1, 1, *self._given)

    @torch.no_grad()
    def step(self, x: Numbers) -> Numbers:
        window = torch.cat((self._window, torch.from_numpy(x).view(1, 1, *self._given)))
        current = self._currents(window)[None]
        made, self._state = self._layer.run(current, self._state, by_sample(self._threshold, current))
        self._window = window[1:]
        outputs: Numbers = made.reshape(-1).numpy()
        return outputs


@dataclass(frozen=True)
class PlannedLayer:
    """How a layer of a model runs.

    Attributes:
        name: Its dotted name.
        module: What it is, such as ``lif neurons`` or ``Linear``.
        runs: ``events``: the engine runs it, and inputs of 0 cost nothing; ``neurons``: the engine runs the neurons,
            and the synapse runs as it is; ``dense``: as without an engine.
        words: How it runs, or why the engine does not run it.
    """

    name: str
    module: str
    runs: Literal["events", "neurons", "dense"]
    words: str


@dataclass(frozen=True)
class Plan:
    """How the layers of a model run on an engine.

    Attributes:
        engine: The engine's name.
        layers: Layers of neurons, and modules with weights and pools outside of them, in order of definition.
    """

    engine: str
    layers: tuple[PlannedLayer, ...]


_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
)  # fmt: skip


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False))


def attach(model: nn.Module, engine: Engine, name: str) -> Plan:
    """Let an engine run the layers of a model from here on, wherever no gradient is recorded.

    Args:
        model: In evaluation mode, with its trained weights; they must not change afterwards.
        engine: The engine.
        name: Its name, for the plan and for errors.

    Raises:
        SpikingError: It runs none of the layers; names the first one and why.
    """
    layers = neuron_layers(model)
    rows: list[PlannedLayer] = []
    for path, module in model.named_modules():
        if path in layers:
            layer = layers[path]
            made: LayerRun | None = None
            try:
                made = engine.layer(layer)
                words = made.words
            except SpikingError as error:
                words = str(error)
            layer.runner = None if made is None or made.dense else made
            runs: Literal["events", "neurons", "dense"] = "dense"
            if made is not None and layer.runner is not None:
                runs = "events" if made.sparse else "neurons"
            rows.append(PlannedLayer(path, f"{layer.spec.kind} neurons", runs, words))
        elif not any(path.startswith(f"{each}." if each else "") for each in layers):
            if _has_weights(module):
                rows.append(
                    PlannedLayer(path, type(module).__name__, "dense", "stands outside of the layers of neurons")
                )
            elif isinstance(module, _POOLS):
                rows.append(PlannedLayer(path, type(module).__name__, "dense", "a pool: reads each number once"))
    plan = Plan(name, tuple(rows))
    if not isinstance(engine, Dense) and all(row.runs == "dense" for row in rows):
        first = next((row for row in rows if row.name in layers), None)
        why = "it has no layer of neurons" if first is None else f"{first.name}: {first.words}"
        raise SpikingError(
            f"the engine {name} runs no layer of {type(model).__name__} ({why}); leave the engine out, or choose dense"
        )
    return plan
