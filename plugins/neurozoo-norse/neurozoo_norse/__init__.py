"""Norse as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``norse`` backend, ``norse-native``, which is the library unchanged."""
    needs: Any = {"requires": ("norse",), "install": "pip install neurozoo-norse", "tested": ("norse >=1.1,<1.2",)}
    yield Component("neuron", "norse", "neurozoo_norse.neuron:NorseNeuron", "SNNCell of Norse", **needs)
    native, about = "neurozoo_norse.native:NorseNativeNeuron", "another model: LIFBoxCell of Norse as it is"
    yield Component("neuron", "norse-native", native, about, exact=False, native=True, **needs)
