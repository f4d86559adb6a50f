"""Each installed fused backend that runs on the CPU; Triton's does where its interpreter runs it."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

import pytest

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.registry.hookspecs import Component
from neurozoo.registry.registry import default_registry
from neurozoo.testing.doctor import refuses_device

REGISTRY = default_registry()


def fused(component: Component) -> bool:
    if not component.fused or REGISTRY.missing("neuron", component.name):
        return False
    return not refuses_device(resolve_name(component.target)(LIFSpec()), "cpu")


FUSED = [name for name, component in REGISTRY.components("neuron").items() if fused(component)]


@pytest.fixture(scope="session", params=FUSED)
def make(request: pytest.FixtureRequest) -> Callable[[NeuronSpec], Neuron]:
    """The neuron's class."""
    return resolve_name(REGISTRY.get("neuron", request.param).target)


@pytest.fixture(scope="session")
def operator(make: Any) -> Any:
    """Its forward, as torch knows it."""
    return make.operators.scan
