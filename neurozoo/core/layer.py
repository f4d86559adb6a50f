"""The built-in backend and the dynamic-threshold LIF layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from neurozoo.core.equations import lif_step
from neurozoo.core.interfaces import LIFSpec, Neuron

__all__ = ["DynamicThresholdLIF", "TorchNeuron", "record_spikes", "spiking_layers"]


class TorchNeuron(Neuron):
    """LIF in plain torch: the oracle that other backends are compared with."""

    runs = "neurozoo.core.equations: lif_charge, spike, lif_reset"

    def step(self, current: Tensor, state: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor]:
        return lif_step(current, state, threshold, self.spec)


class DynamicThresholdLIF(nn.Module):
    """A LIF layer whose threshold is an argument of the call, on any backend.

    It has no parameters and keeps no state: what it needs comes in, what it makes goes out.

    Args:
        neuron: The backend's neuron, with its :class:`~neurozoo.core.interfaces.LIFSpec`.

    Example:
        >>> layer = DynamicThresholdLIF(TorchNeuron(LIFSpec(tau=2.0)))
        >>> spikes = layer(torch.ones(5, 8, 60, 128), threshold=0.5)
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    @property
    def spec(self) -> LIFSpec:
        """What neuron it is."""
        return self.neuron.spec

    def forward(self, currents: Tensor, threshold: Tensor | float = 1.0) -> Tensor:
        """Spikes ``[T, B, ...]`` of currents ``[T, B, ...]``, from rest.

        Raises:
            SpikingError: The threshold's shape does not fit, see :class:`~neurozoo.core.interfaces.Neuron`.
        """
        return self.run(currents, threshold, None)[0]

    def run(self, currents: Tensor, threshold: Tensor | float, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """As a call, but from ``state`` ``[B, ...]`` (None: rest), and with the last state; no hook hears of it.

        Under mixed precision too the membrane is in float32: a spike hangs on its last bits.
        """
        kind = currents.device.type
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                threshold = threshold.float() if isinstance(threshold, Tensor) else threshold
                return self.neuron.scan(currents.float(), state, threshold)
        return self.neuron.scan(currents, state, threshold)

    def extra_repr(self) -> str:
        return f"{type(self.neuron).__name__}, {self.spec}"


def spiking_layers(module: nn.Module) -> dict[str, DynamicThresholdLIF]:
    """The spiking layers of a module by their dotted names, in order of definition."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, DynamicThresholdLIF)}


@contextmanager
def record_spikes(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Collect what each spiking layer puts out, ``[T, B, L, N]``, at every forward inside the block.

    The graph is kept, so that a penalty on the rates can be differentiated. A later forward
    replaces an earlier one's spikes.
    """
    spikes: dict[str, Tensor] = {}

    def keep(name: str):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            spikes[name] = output

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in spiking_layers(module).items()]
    try:
        yield spikes
    finally:
        for handle in handles:
            handle.remove()
