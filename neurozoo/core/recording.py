"""One recorder for everyone who wants to see inside a model: health, lesions, penalties, comparison, reports, export.

A :class:`~neurozoo.core.layer.SpikingLayer` hands each of its runs to the recorders that are attached to it, so that
nobody has to hook modules, and nothing has to ask whether somebody hooked them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from neurozoo.core.layer import Firing, SpikingLayer

__all__ = ["Firings", "Recorded", "frozen_statistics", "neuron_layers", "over_neurons", "recorded", "spiking_layers"]


Firings = Mapping[str, Firing]
"""By the layer's dotted name; of a layer that ran several times, the last."""


class Recorded(dict[str, Firing]):
    """Collects the firings of a model's layers, and may replace what a layer puts out.

    Args:
        change: Called with a layer's name and firing; returns other outputs of the same shape, or None.
    """

    def __init__(self, change: Callable[[str, Firing], Tensor | None] | None = None) -> None:
        super().__init__()
        self._change = change

    def take(self, name: str, firing: Firing) -> Tensor:
        """Record a firing; returns what the layer is to put out."""
        if self._change is not None and (other := self._change(name, firing)) is not None:
            firing = replace(firing, spikes=other)
        self[name] = firing
        return firing.spikes


@contextmanager
def recorded(model: nn.Module, change: Callable[[str, Firing], Tensor | None] | None = None) -> Iterator[Recorded]:
    """Record every forward of a model inside the block.

    The graph is kept, so that a penalty on the rates can be differentiated. A later forward replaces an earlier
    one's firings; call ``clear`` in between where a layer may not run each time.

    Args:
        model: Any module; its layers are named as in ``model.named_modules()``.
        change: May give other outputs for a layer, such as none at all for a lesion.

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
    """The layers of neurons of a module by their dotted names, in order of definition; readouts and controls too."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, SpikingLayer)}


def spiking_layers(module: nn.Module) -> dict[str, SpikingLayer]:
    """Those of :func:`neuron_layers` whose neurons fire."""
    return {name: layer for name, layer in neuron_layers(module).items() if layer.spec.spiking}


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Put every buffer back at the end: what a measurement runs through the model leaves no trace."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    try:
        yield
    finally:
        for name, buffer in module.named_buffers():
            buffer.data.copy_(kept[name])


def over_neurons(values: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Sum outputs over everything but the neurons, and count what was summed.

    Of ``[T, B, N]`` and ``[T, B, L, N]`` the neurons are the last axis, of frames ``[T, B, C, H, W]`` they are the
    places of a feature map: every axis from the third on that ``valid`` does not cover, or all of them where it is
    None and the layer is not one of positions.

    Args:
        values: ``[T, B, ...]``.
        valid: ``[T or 1, B, ...]`` over the leading axes; None where everything counts, and every axis from the
            third on is the neurons'.

    Returns:
        Sums, flat ``[N]``, and the number of outputs of one neuron that were summed.
    """
    if valid is None:
        return values.sum((0, 1)).flatten(), values.shape[0] * values.shape[1]
    mask = valid.expand(len(values), *valid.shape[1:])
    kept = values * mask.reshape(*mask.shape, *[1] * (values.dim() - mask.dim()))
    return kept.sum(tuple(range(mask.dim()))).flatten(), mask.sum()
