"""The layers of neurons of any network, and the backend that runs them."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from neurozoo.core.layer import SpikingLayer, neuron_for
from neurozoo.core.neuron import Neuron, NeuronSpec
from neurozoo.core.recording import neuron_layers
from neurozoo.errors import SpikingError, UserError
from neurozoo.registry.registry import default_registry

__all__ = ["layers_of", "neuron_on", "set_backend"]

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


def layers_of(net: nn.Module) -> dict[str, SpikingLayer]:
    """Return the layers of neurons of a network by dotted name, one at least.

    Raises:
        UserError: It has none, or is no module.
    """
    layers = neuron_layers(net) if isinstance(net, nn.Module) else {}
    if not layers:
        kinds = sorted({type(module).__name__ for module in net.modules()}) if isinstance(net, nn.Module) else []
        raise UserError(
            f"{type(net).__name__} has no layer of neurons of neurozoo"
            + (f", only {', '.join(kinds[:8])}{' and others' if len(kinds) > 8 else ''}" if kinds else "")
            + "; make its neurons with neurozoo.LIF(...) or another kind"
        )
    return layers


def neuron_on(backend: str, spec: NeuronSpec) -> Neuron:
    """Return the neuron that a backend runs for a specification.

    Raises:
        UnknownNameError: There is no such backend.
        SpikingError: It does not run these neurons.
    """
    return neuron_for(default_registry().resolve("neuron", backend), spec)
