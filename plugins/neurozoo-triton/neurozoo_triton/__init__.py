"""A fused loop over time on GPUs, in Triton, as a backend of neurozoo. triton itself is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable

from neurozoo.registry.hookspecs import Component, hookimpl

__all__ = ["neurozoo_api", "neurozoo_components"]

neurozoo_api = "2.0"


@hookimpl
def neurozoo_components() -> Iterable[Component]:
    """The ``triton`` backend."""
    yield Component(
        "neuron",
        "triton",
        "neurozoo_triton.neuron:TritonNeuron",
        "a fused loop over time on CUDA devices, in Triton",
        requires=("triton",),
        install="pip install neurozoo-triton",
        fused=("cuda",),
        tested=("triton >=3.7,<3.8",),
    )
