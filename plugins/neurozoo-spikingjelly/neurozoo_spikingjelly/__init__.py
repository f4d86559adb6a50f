"""SpikingJelly as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "1.3"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``spikingjelly`` backend, and the library's reader of NIR."""
    yield Component(
        "backend",
        "spikingjelly",
        "neurozoo_spikingjelly.neuron:SpikingJellyNeuron",
        "LIFNode of SpikingJelly",
        requires=("spikingjelly",),
        install="pip install neurozoo-spikingjelly",
        tested=("spikingjelly ==2.0.*",),
    )
    yield Component(
        "nir-reader",
        "spikingjelly",
        "neurozoo_spikingjelly.nir_reader:SpikingJellyReader",
        "NIR graphs as SpikingJelly reads them",
        requires=("spikingjelly", "nir", "nirtorch"),
        install="pip install 'neurozoo-spikingjelly[nir]'",
        tested=("spikingjelly ==2.0.*",),
    )
