"""The one recorder of what happens inside a model, for health, lesions, penalties, comparison, reports and export.

A :class:`~neurozoo.core.layer.SpikingLayer` passes each forward to the recorders that are attached to it, so that no
module needs hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.neuron import Neuron
from neurozoo.errors import UserError

__all__ = [
    "Firings",
    "Recorded",
    "frozen_statistics",
    "layers_of",
    "neuron_layers",
    "over_neurons",
    "recorded",
    "spiking_layers",
    "unrecorded",
]


Firings = Mapping[str, Firing]
"""By the layer's dotted name; the last one of a layer that ran several times."""


class Recorded(dict[str, Firing]):
    """Collects the firings of a model's layers, and may replace a layer's outputs.

    Args:
        change: Called with a layer's name and firing; returns other outputs of the same shape, or None.
    """

    def __init__(self, change: Callable[[str, Firing], Tensor | None] | None = None) -> None:
        super().__init__()
        self._change = change

    def take(self, name: str, firing: Firing) -> Tensor:
        """Record a firing, and return the outputs to use."""
        if self._change is not None and (other := self._change(name, firing)) is not None:
            firing = replace(firing, spikes=other)
        self[name] = firing
        return firing.spikes


@contextmanager
def recorded(model: nn.Module, change: Callable[[str, Firing], Tensor | None] | None = None) -> Iterator[Recorded]:
    """Record every forward of a model inside the block.

    The graph is kept, so that a penalty on the rates can be differentiated. A later forward replaces the firings of an
    earlier one; call ``clear`` in between if a layer may not run each time.

    Args:
        model: Any module; its layers are named as in ``model.named_modules()``.
        change: May return other outputs for a layer, such as zeros for a lesion.

    Example:
        >>> with recorded(model) as firings:
        ...     model(batch)
        >>> {name: float(firing.spikes.mean()) for name, firing in firings.items()}
    """
    recorder = Recorded(change)
    layers = neuron_layers(model)
    for name, layer in layers.items():
        layer.recorders.append((recorder, name))
    try:
        yield recorder
    finally:
        for layer in layers.values():
            layer.recorders[:] = [each for each in layer.recorders if each[0] is not recorder]


def neuron_layers(module: nn.Module) -> dict[str, SpikingLayer]:
    """Return a module's layers of neurons by dotted name, in order of definition, with readouts and controls."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, SpikingLayer)}


def spiking_layers(module: nn.Module) -> dict[str, SpikingLayer]:
    """Return those of :func:`neuron_layers` whose neurons fire."""
    return {name: layer for name, layer in neuron_layers(module).items() if layer.spec.spiking}


def layers_of(net: nn.Module) -> dict[str, SpikingLayer]:
    """Return the layers of neurons of a network by dotted name, one at least.

    Raises:
        UserError: It has none, or is no module.
    """
    layers = neuron_layers(net) if isinstance(net, nn.Module) else {}
    if not layers:
        kinds = sorted({type(module).__name__ for module in net.modules()}) if isinstance(net, nn.Module) else []
        raise UserError(
            f"{type(net).__name__} has no layer of neurons of neurozoo"
            + (f", only {', '.join(kinds[:8])}{' and others' if len(kinds) > 8 else ''}" if kinds else "")
            + "; make its neurons with neurozoo.LIF(...) or another kind"
        )
    return layers


@contextmanager
def unrecorded(model: nn.Module) -> Iterator[dict[str, str]]:
    """Collect modules that fire outside of every layer of neurons, whose spikes no recorder gets: class by dotted name.

    These are modules that hold a spiking neuron themselves, and those that in a forward inside the block return zeros
    and ones alone of other numbers, such as an activation or a neuron of a library. The other numbers are an input, or
    the output of a module inside; of nested modules the innermost counts.
    """
    layers = neuron_layers(model)
    found: dict[str, str] = {}
    real: set[str] = set()

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            outputs = output if isinstance(output, tuple | list) else (output,)
            inputs = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            outputs = [y for y in outputs if isinstance(y, Tensor)]
            binary = [_zeros_and_ones(y) for y in outputs]
            if not all(binary):
                real.add(name)
            fires = any(only and y.any() and not y.all() for only, y in zip(binary, outputs, strict=True))
            of_others = not all(map(_zeros_and_ones, inputs)) or any(each.startswith(f"{name}.") for each in real)
            if fires and of_others and not any(inner.startswith(f"{name}.") for inner in found):
                found[name] = type(module).__name__

        return hook

    with ExitStack() as undo:
        for name, module in model.named_modules():
            if any(name == layer or name.startswith(f"{layer}.") for layer in layers):
                continue
            held = [*vars(module).values()]
            held += [each for value in held if isinstance(value, list | tuple) for each in value]
            if any(isinstance(each, Neuron) and each.spec.spiking for each in held):
                found[name] = type(module).__name__
            elif name and not any(layer.startswith(f"{name}.") for layer in layers):
                undo.callback(module.register_forward_hook(look(name), with_kwargs=True).remove)
        yield found


def _zeros_and_ones(x: Tensor) -> bool:
    return x.is_floating_point() and bool(((x == 0) | (x == 1)).all())


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Restore every buffer at the end, so that a measurement does not change the model."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.data.copy_(kept[name])


def over_neurons(values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Sum outputs per neuron over steps, samples and positions.

    Args:
        values: ``[T, B, ...]``.
        valid: ``[T or 1, B, ...]``, which outputs count, over the axes to sum over; the others are the neurons', such
            as N of ``[T, B, L, N]``, or C, H and W of frames. None for all, and to sum over T and B alone.

    Returns:
        Sums, flat ``[N]``, and the number of summed outputs per neuron.
    """
    if valid is None:
        return values.sum((0, 1)).flatten(), values.shape[0] * values.shape[1]
    mask = valid.expand(len(values), *valid.shape[1:])
    kept = values * mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))
    return kept.sum(tuple(range(mask.dim()))).flatten(), mask.sum()
