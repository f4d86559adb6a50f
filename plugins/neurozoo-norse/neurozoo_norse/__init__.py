"""Norse as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``norse`` backend, ``norse-native``, which is the library unchanged."""
    yield Component(
        "neuron",
        "norse",
        "neurozoo_norse.neuron:NorseNeuron",
        "SNNCell of Norse",
        requires=("norse",),
        install="pip install neurozoo-norse",
        tested=("norse >=1.1,<1.2",),
    )
    yield Component(
        "neuron",
        "norse-native",
        "neurozoo_norse.native:NorseNativeNeuron",
        "another model: LIFBoxCell of Norse as it is",
        requires=("norse",),
        install="pip install neurozoo-norse",
        exact=False,
        native=True,
        tested=("norse >=1.1,<1.2",),
    )
