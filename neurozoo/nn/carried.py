"""A network's forward in segments of steps, with the states of its layers carried from one to the next.

:func:`neurozoo.nn.segments.in_segments` runs a function with a state; here the function is a network's own forward, and
the state that of its layers of neurons. Recorders get each layer once, after all steps: its spikes' numbers, with their
gradient, since no spikes are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from neurozoo.core.layer import Counts, SpikingLayer
from neurozoo.core.neuron import State
from neurozoo.core.recording import neuron_layers
from neurozoo.core.saving import known_spikes
from neurozoo.errors import NeurozooError
from neurozoo.nn.segments import in_segments

__all__ = ["carried"]


def carried(
    module: nn.Module,
    run: Callable[[Tensor, Tensor | None], tuple[Any, Any]],
    x: Tensor,
    valid: Tensor | None,
    length: int | None = None,
) -> tuple[Any, Any]:
    """Run a network's steps in segments, with few numbers kept for the backward.

    Args:
        module: The network. Each of its layers runs once in ``run``, and has no inputs of other steps than its own.
        run: Takes some steps ``[t, B, ...]``, and which of them are valid ``[t, B]``; returns their outputs
            ``[t, B, ...]``, and what is summed over all steps, both nested tuples of tensors.
        x: ``[T, B, ...]``.
        valid: ``[T, B]`` bool, a sample's first steps; None if all are.
        length: Steps of a segment, see :func:`~neurozoo.nn.segments.in_segments`.

    Returns:
        The outputs ``[T, B, ...]`` and the sums.
    """
    layers = _Layers(module)
    follows = None
    if layers.returning:
        follows = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid
        follows = torch.cat((follows[1:], torch.zeros_like(follows[:1])))

    def segment(given: tuple[Tensor, Tensor | None, Tensor | None], state: Any) -> tuple[Any, Any]:
        part, some, following = given
        before, summed = (None, None) if state is None else state
        with layers.attached(before, following) as after:
            outputs, sums = run(part, some)
        return outputs, (after, sums if summed is None else tree_map(torch.add, summed, sums))

    outputs, (after, sums) = in_segments(segment, (x, valid, follows), None, length)
    steps = torch.full((x.shape[1],), len(x), device=x.device) if valid is None else valid.sum(0)
    layers.record(after, steps, valid)
    return outputs, sums


class _Carried(NamedTuple):
    """What a layer takes from one segment to the next.

    Attributes:
        state: Of the neurons.
        spikes: Numbers of valid spikes so far, ``[B, ...]``; None where nobody records the layer.
        followed: See :class:`~neurozoo.core.layer.Counts`.
    """

    state: State
    spikes: Tensor | None
    followed: Tensor | None


class _Layers:
    """The layers of a network while its steps run in segments; their :class:`~neurozoo.core.layer.Carry`."""

    def __init__(self, module: nn.Module) -> None:
        self._layers = neuron_layers(module)
        self._names = {id(layer): name for name, layer in self._layers.items()}
        self._recorded = {name for name, layer in self._layers.items() if layer.spec.spiking and layer.recorders}
        self.returning = any(self._layers[name].recurrent is not None for name in self._recorded)
        self._before: Mapping[str, _Carried] | None = None
        self._after: dict[str, _Carried] = {}
        self._following: Tensor | None = None
        self._driving: dict[str, Tensor] = {}
        self._levels: dict[str, Tensor | float] = {}
        self._again = False

    @contextmanager
    def attached(
        self, before: Mapping[str, _Carried] | None, following: Tensor | None
    ) -> Iterator[dict[str, _Carried]]:
        """Let the layers start from the states ``before`` inside the block, and yield those after it."""
        self._before, self._after, self._following = before, {}, following
        recorders = {name: layer.recorders for name, layer in self._layers.items()}
        try:
            for layer in self._layers.values():
                layer.carry, layer.recorders = self, []
            yield self._after
        finally:
            for name, layer in self._layers.items():
                layer.carry, layer.recorders = None, recorders[name]
            self._before, self._after, self._following = None, {}, None

    def run(
        self, layer: SpikingLayer, x: Tensor, threshold: Tensor | float, valid: Tensor | None, state: State | None
    ) -> Tensor:
        """As of :class:`~neurozoo.core.layer.Carry`."""
        name = self._names[id(layer)]
        if name in self._after:
            raise NeurozooError(f"{name} runs twice in a step, so that its state cannot be carried on")
        before = None if self._before is None else self._before[name]
        currents = layer.currents(x, valid)
        outputs, after = layer.run(currents, state if before is None else before.state, threshold)
        if layer.spec.spiking:
            known_spikes(outputs)
        spikes = followed = None
        if name in self._recorded:
            spikes = _sum(outputs, valid, before and before.spikes)
            if layer.recurrent is not None:
                followed = _sum(outputs, self._following, before and before.followed)
            if not self._again:
                self._levels[name] = threshold.detach() if isinstance(threshold, Tensor) else threshold
                self._driving[name] = _sum(currents.detach(), valid, self._driving.get(name))
        self._after[name] = _Carried(after, spikes, followed)
        return outputs

    def record(self, after: Mapping[str, _Carried], steps: Tensor, valid: Tensor | None) -> None:
        """Pass what the layers did in all steps to their recorders."""
        self._again = True
        some = None if valid is None else valid.any(0)[None]
        for name, (_, spikes, followed) in after.items():
            if spikes is None:
                continue
            layer, driving = self._layers[name], self._driving.pop(name)
            if followed is not None:
                driving = driving + layer.returned(followed).detach()
            number = steps.clamp(min=1).reshape(-1, *[1] * (spikes.dim() - 1))
            counts = Counts(spikes, followed, steps)
            layer.record(
                (driving / number)[None], (spikes / number)[None], self._levels[name], some, counts=counts
            )  # fmt: skip


def _sum(x: Tensor, valid: Tensor | None, before: Tensor | None) -> Tensor:
    """Return the sum of ``[t, B, ...]`` over the valid steps, and what was before."""
    kept = x if valid is None else x * valid.reshape(*valid.shape, *[1] * (x.dim() - valid.dim()))
    return kept.sum(0) if before is None else before + kept.sum(0)
