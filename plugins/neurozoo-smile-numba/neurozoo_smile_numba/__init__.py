"""SMILE's encoder blocks, compiled by numba, as a part of neurozoo. numba itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The part ``numba-blocks``, for SMILE's slot ``encoder``."""
    yield Component(
        "part",
        "numba-blocks",
        "neurozoo_smile_numba.encoder:NumbaEncoder",
        "SMILE's encoder blocks on the CPU, compiled by numba",
        requires=("numba",),
        install="pip install neurozoo-smile-numba",
        tested=("numba >=0.68,<0.69",),
    )
