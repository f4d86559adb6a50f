"""What parts and models are built for, on the oracle and on other backends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from neurozoo.core.interfaces import Inputs, Layout, LIFSpec, Neuron
from neurozoo.core.layer import TorchNeuron
from neurozoo.errors import PluginError
from neurozoo.registry.registry import default_registry

__all__ = ["OtherNeuron", "describe", "layout_of", "other_backends"]


class OtherNeuron(Neuron):
    """The oracle by another name: a second backend, for parts that look at which one they got."""

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return TorchNeuron(self.spec).step(current, state, threshold)


def layout_of(
    spiking: Sequence[str], context: str | None, *, hidden: int = 12, heads: int = 3, labels: int = 3
) -> Layout:
    """A layout on the oracle, with a dropout that would be seen if it took part."""
    return Layout(hidden, heads, 0.5, tuple(spiking), context, labels, TorchNeuron)


def describe(form: Layout | Inputs) -> str:
    """A layout, or a model's inputs, in words."""
    context = f"context {form.context}" if form.context is not None else "no context"
    sizes = f"hidden {form.hidden}, heads {form.heads}, " if isinstance(form, Layout) else ""
    return f"{context}, spiking {', '.join(form.spiking)}, {sizes}labels {form.labels}"


def other_backends() -> Iterator[tuple[str, Callable[[LIFSpec], Neuron]]]:
    """Another than the oracle that is always there, then all that are installed and do not say they differ."""
    yield OtherNeuron.__name__, OtherNeuron
    registry = default_registry()
    for name, component in registry.components("backend").items():
        if component.native:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the library, at import
                neuron = registry.resolve("backend", name)
        except PluginError:  # not the fault of what is under test
            continue
        yield name, neuron
