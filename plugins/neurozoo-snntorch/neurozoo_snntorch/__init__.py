"""snnTorch as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "1.3"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``snntorch`` backend, ``snntorch-native``, which is the library by itself, and its reader of NIR."""
    yield Component(
        "backend",
        "snntorch",
        "neurozoo_snntorch.neuron:SnnTorchNeuron",
        "Leaky of snnTorch",
        requires=("snntorch",),
        install="pip install neurozoo-snntorch",
        exact=False,
        tested=("snntorch >=1.0,<1.1",),
    )
    yield Component(
        "backend",
        "snntorch-native",
        "neurozoo_snntorch.native:SnnTorchNativeNeuron",
        "another model: Leaky of snnTorch as it is",
        requires=("snntorch",),
        install="pip install neurozoo-snntorch",
        exact=False,
        native=True,
        tested=("snntorch >=1.0,<1.1",),
    )
    yield Component(
        "nir-reader",
        "snntorch",
        "neurozoo_snntorch.nir_reader:SnnTorchReader",
        "NIR graphs as snnTorch reads them",
        requires=("snntorch", "nir", "nirtorch"),
        install="pip install 'neurozoo-snntorch[nir]'",
        tested=("snntorch >=1.0,<1.1",),
    )
