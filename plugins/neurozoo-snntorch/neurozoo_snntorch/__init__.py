"""snnTorch as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``snntorch`` backend, ``snntorch-native``, which is the library unchanged."""
    needs: Any = {
        "requires": ("snntorch",),
        "install": "pip install neurozoo-snntorch",
        "tested": ("snntorch >=1.0,<1.1",),
        "exact": False,
    }
    yield Component("neuron", "snntorch", "neurozoo_snntorch.neuron:SnnTorchNeuron", "Leaky of snnTorch", **needs)
    native, about = "neurozoo_snntorch.native:SnnTorchNativeNeuron", "another model: Leaky of snnTorch as it is"
    yield Component("neuron", "snntorch-native", native, about, native=True, **needs)
