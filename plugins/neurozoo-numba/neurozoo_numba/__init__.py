"""A fused loop over time, compiled by numba, as a backend of neurozoo. numba itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``numba`` backend."""
    yield Component(
        "neuron",
        "numba",
        "neurozoo_numba.neuron:NumbaNeuron",
        "a fused loop over time on the CPU, compiled by numba",
        requires=("numba",),
        install="pip install neurozoo-numba",
        fused=("cpu",),
        tested=("numba >=0.68,<0.69",),
    )
