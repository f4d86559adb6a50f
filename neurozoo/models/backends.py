"""The backend that runs the layers of neurons of a network, by name."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from neurozoo.core.layer import neuron_for
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.core.recording import layers_of
from neurozoo.errors import SpikingError
from neurozoo.registry.registry import default_registry

__all__ = ["neuron_on", "set_backend"]

_Net = TypeVar("_Net", bound=nn.Module)


def set_backend(net: _Net, backend: str) -> _Net:
    """Run all layers of neurons of a network on another backend, in place; weights and parameters stay.

    Args:
        net: Any module with layers of neurons of neurozoo, such as :class:`LIF`, or one of the zoo's models.
        backend: Name of a backend; ``neurozoo list backends`` has them.

    Returns:
        The network.

    Raises:
        UnknownNameError: There is no such backend.
        SpikingError: It does not run one of the layers; then none is changed.
        UserError: The network has no layer of neurons.
    """
    layers = layers_of(net)
    made: dict[str, Neuron] = {}
    refused = []
    for name, layer in layers.items():
        try:
            made[name] = neuron_on(backend, layer.spec)
        except SpikingError as error:
            refused.append(f"{name or 'the network'}: {error}")
    if refused:
        raise SpikingError("; ".join(refused))
    for name, layer in layers.items():
        layer.neuron = made[name]
    return net


def neuron_on(backend: str, spec: NeuronSpec) -> Neuron:
    """Return the neuron that a backend runs for a specification.

    Raises:
        UnknownNameError: There is no such backend.
        SpikingError: It does not run these neurons.
    """
    return neuron_for(default_registry().resolve("neuron", backend), spec)
