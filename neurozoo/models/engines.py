"""Let an engine run a trained model by its name: ``dense``, or one of a plugin."""

from __future__ import annotations

from torch import nn

from neurozoo.core.engine import Plan, attach
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["use_engine"]


def use_engine(model: nn.Module, name: str, *, registry: Registry | None = None) -> Plan:
    """Let an engine run the layers of a model from here on, wherever no gradient is recorded.

    Args:
        model: In evaluation mode, with its trained weights; they must not change afterwards.
        name: Of the engine; ``neurozoo list engines`` has them.
        registry: Where it is looked up; by default what is installed.

    Returns:
        How each layer runs.

    Raises:
        UnknownNameError: There is no such engine.
        PluginError: It cannot be used here.
        SpikingError: It runs none of the layers; names the first one and why.
    """
    engine = (registry or default_registry()).resolve("engine", name)()
    return attach(model, engine, name)
