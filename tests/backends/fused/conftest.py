"""Each installed fused backend that runs on the CPU; Triton's does where its interpreter runs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from neurozoo.core.interfaces import LIFSpec, Neuron
from neurozoo.registry.hookspecs import Component
from neurozoo.registry.registry import default_registry
from neurozoo.testing.doctor import refuses_device

REGISTRY = default_registry()


def fused(component: Component) -> bool:
    if not component.fused or REGISTRY.missing("backend", component.name):
        return False
    return not refuses_device(REGISTRY.resolve("backend", component.name)(LIFSpec()), "cpu")


FUSED = [name for name, component in REGISTRY.components("backend").items() if fused(component)]


@pytest.fixture(scope="session", params=FUSED)
def make(request: pytest.FixtureRequest) -> Callable[[LIFSpec], Neuron]:
    """The neuron's class."""
    return REGISTRY.resolve("backend", request.param)


@pytest.fixture(scope="session")
def operator(make: Any) -> Any:
    """Its forward, as torch knows it."""
    return make.operators.lif
