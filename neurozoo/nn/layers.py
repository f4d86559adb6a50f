"""The layers of a model that has one choice of neurons."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from neurozoo.core.layer import MakeNeuron, SpikingLayer
from neurozoo.core.model import NeuronChoice
from neurozoo.nn.synapses import PooledSynapse, conv_norm

__all__ = ["Layers"]


@dataclass(frozen=True)
class Layers:
    """Makes layers over pictures, all with the same choice of neurons; learned parameters by neuron are by channel.

    Attributes:
        choice: The neurons.
        neuron: Makes the backend's neuron.
    """

    choice: NeuronChoice
    neuron: MakeNeuron

    def conv(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, bias: bool = False, pool: bool = False
    ) -> SpikingLayer:
        """Make ``convolution -> batch norm -> [max pool] -> neurons``; ``kernel`` is odd."""
        synapse = conv_norm(inputs, outputs, kernel, stride, bias=bias)
        if pool:
            synapse = PooledSynapse(synapse.weight, outputs)
        return self.of(synapse, outputs)

    def neurons(self, width: int) -> SpikingLayer:
        """Make neurons whose inputs are their currents."""
        return self.of(None, width)

    def of(self, synapse: nn.Module | None, width: int) -> SpikingLayer:
        """Make a layer with a synapse to ``width`` channels."""
        return self.choice.layer(self.neuron, synapse, shape=(width, 1, 1))
