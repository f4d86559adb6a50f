"""SpikingJelly as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``spikingjelly`` backend."""
    yield Component(
        "neuron",
        "spikingjelly",
        "neurozoo_spikingjelly.neuron:SpikingJellyNeuron",
        "LIFNode of SpikingJelly",
        requires=("spikingjelly",),
        install="pip install neurozoo-spikingjelly",
        tested=("spikingjelly ==2.0.*",),
    )
