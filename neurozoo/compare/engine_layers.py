"""A layer on an engine against the oracle: to the bit where sums run in one order, else step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.backends.agreement import heights, within_margin
from neurozoo.core.layer import SpikingLayer, Synapse, TorchNeuron, by_sample
from neurozoo.core.layer_run import LayerRun
from neurozoo.core.neuron import State, check_params, steps_of
from neurozoo.core.recording import neuron_layers
from neurozoo.nn.ordered import ordered_run

__all__ = ["LayerAgreement", "LayerCall", "calls_of", "compare_layer"]


@dataclass(frozen=True)
class LayerCall:
    """One forward of a layer, as a model called it.

    Attributes:
        x: Inputs ``[T, B, ...]``.
        state: State before the first step; None for rest.
        threshold: As of the layer's forward.
        valid: Likewise.
    """

    x: Tensor
    state: State | None = None
    threshold: Tensor | float = 1.0
    valid: Tensor | None = None


@dataclass(frozen=True)
class LayerAgreement:
    """Counts of equal and different outputs of a layer.

    Attributes:
        outputs: Number of outputs, neurons times steps.
        unordered: Outputs that are not, to the bit, those of the oracle fed by sums in the same order; 0 for an engine
            whose sums have another order.
        steps: Outputs that were compared with torch's sums, each step from the oracle's own state. 0 for a synapse
            that runs as it is, and has the same sums.
        near: Spikes of these that differ where the membrane is within 8 units in the last place of the threshold.
        beyond: Spikes of these that differ elsewhere.
        difference: Of outputs that are no spikes: the largest difference from torch's sums, as a share of the largest.
        density: Share of the inputs that are not 0, dimensionless.
    """

    outputs: int = 0
    unordered: int = 0
    steps: int = 0
    near: int = 0
    beyond: int = 0
    difference: float = 0.0
    density: float = 0.0

    def __add__(self, later: LayerAgreement) -> LayerAgreement:
        """Add the counts; densities are weighted by the outputs."""
        outputs = self.outputs + later.outputs
        density = (self.density * self.outputs + later.density * later.outputs) / max(outputs, 1)
        return LayerAgreement(
            outputs,
            self.unordered + later.unordered,
            self.steps + later.steps,
            self.near + later.near,
            self.beyond + later.beyond,
            max(self.difference, later.difference),
            density,
        )


@contextmanager
def calls_of(model: nn.Module) -> Iterator[dict[str, LayerCall]]:
    """Collect the last call of each layer of neurons in a block, by dotted name."""
    found: dict[str, LayerCall] = {}

    def noted(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x, steps = args[0], kwargs.get("steps")
            threshold = args[1] if len(args) > 1 else kwargs.get("threshold", 1.0)
            whole = x if steps is None else x.expand(steps, *x.shape)
            found[name] = LayerCall(whole, kwargs.get("state"), threshold, kwargs.get("valid"))

        return hook

    with ExitStack() as undo:
        for name, layer in neuron_layers(model).items():
            undo.callback(layer.register_forward_pre_hook(noted(name), with_kwargs=True).remove)
        yield found


@torch.no_grad()
def compare_layer(layer: SpikingLayer, run: LayerRun, call: LayerCall) -> LayerAgreement:
    """Compare a prepared layer with the oracle on the inputs of a call.

    Args:
        layer: In evaluation mode, without an engine.
        run: The same layer, prepared by an engine.
        call: Its inputs.
    """
    x, state, threshold, valid = call.x, call.state, call.threshold, call.valid
    ordered = ordered_run(layer, x, state, threshold, valid=valid)
    mine = run.run(x, state, threshold, valid=valid)
    found = LayerAgreement(
        mine.outputs.numel(),
        _different(mine.outputs, ordered.outputs) if run.ordered else 0,
        density=float((x != 0).float().mean()),
    )
    if not layer.spec.spiking:
        plain = _on_torch(layer, call)
        largest = float(plain.abs().amax()) if plain.numel() else 0.0
        difference = float((mine.outputs - plain).abs().amax()) / largest if largest else 0.0
        return found + LayerAgreement(difference=difference)
    return found + _step_by_step(layer, run, call) if run.sparse else found


def _different(found: Tensor, expected: Tensor) -> int:
    return int(((found != expected) & ~(found.isnan() & expected.isnan())).sum())


def _on_torch(layer: SpikingLayer, call: LayerCall) -> Tensor:
    """Return a layer's outputs on the oracle, with torch's sums."""
    currents = layer.currents(call.x, call.valid)
    level, params = by_sample(call.threshold, currents), layer.params() or None
    neuron = TorchNeuron(layer.spec)
    if layer.recurrent is not None:
        return neuron.recur(currents, layer.returning(), call.state, level, params, gain=layer.gain).outputs
    return (
        neuron.scan(currents / level, call.state, 1.0, params)[0]
        if layer.gain
        else (neuron.scan(currents, call.state, level, params)[0])
    )


def _step_by_step(layer: SpikingLayer, run: LayerRun, call: LayerCall) -> LayerAgreement:
    """Compare each step, started from the oracle's state, with the oracle's step on torch's sums."""
    spec, neuron = layer.spec, TorchNeuron(layer.spec)
    currents = layer.currents(call.x, call.valid)
    params = check_params(spec.complete(layer.params() or None), currents)
    levels = steps_of(by_sample(call.threshold, currents), currents)
    returns = layer.recurrent is not None
    carried = neuron.initial_state(currents[0], params) if call.state is None else call.state[: len(spec.states)]
    fired = torch.zeros_like(currents[0]) if call.state is None or not returns else call.state[-1]
    near = beyond = 0
    over_time = isinstance(layer.synapse, Synapse) and layer.synapse.over_time and len(currents) != len(call.x)
    rows = call.x
    if over_time:  # a step's currents depend on other steps: the oracle's step on the engine's currents
        driven = run.run(call.x, call.state, call.threshold, valid=call.valid, driven=True).driven
        assert driven is not None
        rows = driven
    for x, current, level in zip(rows[:, None].unbind(0), currents.unbind(0), levels, strict=True):
        whole = current + layer.returned(fired) if returns else current
        driving, compared = (whole / level, 1.0) if layer.gain else (whole, level)
        before = carried
        threshold = level[None] if isinstance(level, Tensor) and level.dim() else level
        if over_time:
            mine = neuron.step(x[0] / level if layer.gain else x[0], before, compared, params)[0]
        else:
            mine = run.run(x, (*before, fired) if returns else before, threshold).outputs[0]
        fired, carried = neuron.step(driving, before, compared, params)
        differ = mine != fired
        if bool(differ.any()):
            height, against = heights(spec, driving, before, compared, params)
            close = within_margin(height, against)
            near += int((differ & close).sum())
            beyond += int((differ & ~close).sum())
    return LayerAgreement(steps=currents.numel(), near=near, beyond=beyond)
