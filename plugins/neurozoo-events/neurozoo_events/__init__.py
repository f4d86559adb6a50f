"""An event-driven engine of neurozoo: a step costs what spikes arrive. numba itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.1"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The engine ``events``."""
    yield Component(
        "engine",
        "events",
        "neurozoo_events.engine:EventEngine",
        "event-driven on the CPU: inputs of 0 cost nothing; compiled by numba",
        requires=("numba", "neurozoo_numba"),
        install="pip install neurozoo-events",
        tested=("numba >=0.68,<0.69",),
    )
