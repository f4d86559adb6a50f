"""Norse as a backend of neurozoo. The library itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.hookspecs import Component, hookimpl

__all__ = ["neurozoo_components"]


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``norse`` backend."""
    yield Component(
        "backend",
        "norse",
        "neurozoo_norse.neuron:NorseNeuron",
        "SNNCell of Norse",
        requires=("norse",),
        install="pip install neurozoo-norse",
    )
