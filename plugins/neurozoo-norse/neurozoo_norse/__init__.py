"""Norse as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "1.3"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``norse`` backend, ``norse-native``, which is the library by itself, and its reader of NIR."""
    yield Component(
        "backend",
        "norse",
        "neurozoo_norse.neuron:NorseNeuron",
        "SNNCell of Norse",
        requires=("norse",),
        install="pip install neurozoo-norse",
        tested=("norse >=1.1,<1.2",),
    )
    yield Component(
        "backend",
        "norse-native",
        "neurozoo_norse.native:NorseNativeNeuron",
        "another model: LIFBoxCell of Norse as it is",
        requires=("norse",),
        install="pip install neurozoo-norse",
        exact=False,
        native=True,
        tested=("norse >=1.1,<1.2",),
    )
    yield Component(
        "nir-reader",
        "norse",
        "neurozoo_norse.nir_reader:NorseReader",
        "NIR graphs as Norse reads them",
        requires=("norse", "nir"),
        install="pip install neurozoo-norse",
        tested=("norse >=1.1,<1.2",),
    )
