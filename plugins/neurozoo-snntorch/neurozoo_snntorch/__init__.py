"""snnTorch as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.hookspecs import Component, hookimpl

__all__ = ["neurozoo_components"]


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``snntorch`` backend."""
    yield Component(
        "backend",
        "snntorch",
        "neurozoo_snntorch.neuron:SnnTorchNeuron",
        "Leaky of snnTorch",
        requires=("snntorch",),
        install="pip install neurozoo-snntorch",
        exact=False,
    )
