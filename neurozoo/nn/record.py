"""What goes through the layers of neurons of any network: ``nz.record(net, "spikes", "membrane", "current")``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from neurozoo.backends.membranes import compared
from neurozoo.core.kinds import SpikingSpec
from neurozoo.core.layer import Firing, SpikingLayer
from neurozoo.core.recording import layers_of, over_neurons, recorded
from neurozoo.errors import UserError, suggestion

__all__ = ["LayerRecord", "Quantity", "Record", "record"]

Quantity = Literal["spikes", "membrane", "current", "threshold"]


@dataclass(frozen=True)
class LayerRecord:
    """The last forward of a layer; what was not recorded is None.

    Attributes:
        kind: Kind of its neurons, such as ``lif``.
        spikes: ``[T, B, ...]``, 0 or 1, with their graph; None of neurons that do not fire.
        membrane: ``[T, B, ...]``, what each step compares with the threshold, before the reset, without a graph; in
            units of the threshold where that adapts (``alif``). Of neurons that do not fire their output.
        current: ``[T, B, ...]``, of the synapse and the recurrent weights, dimensionless, with its graph.
        threshold: ``[T, B, ...]``, what the membrane is compared with; None of neurons that do not fire.
        valid: Which outputs count, ``[T or 1, B, ...]`` over leading axes; None for all.
        rate: Mean of the spikes that count, 0-d, spikes a step; None of neurons that do not fire.
        shape: T, B and the neurons' axes.
    """

    kind: str
    spikes: Tensor | None
    membrane: Tensor | None
    current: Tensor | None
    threshold: Tensor | None
    valid: Tensor | None
    rate: Tensor | None
    shape: tuple[int, ...]

    def __str__(self) -> str:
        steps, samples, *neurons = self.shape
        rate = "" if self.rate is None else f", {float(self.rate):.3g} spikes a step"
        return f"{self.kind}, T = {steps}, B = {samples}, neurons {neurons}{rate}"


class Record(Mapping[str, LayerRecord]):
    """Layers by dotted name, in the order in which they ran, each with its last forward.

    ``record["1"].membrane`` is that of a layer, ``record.membrane["1"]`` the same.

    Args:
        wanted: What is recorded.
    """

    def __init__(self, wanted: tuple[Quantity, ...]) -> None:
        self.wanted = wanted
        self._layers: dict[str, LayerRecord] = {}

    @property
    def spikes(self) -> dict[str, Tensor]:
        """Spikes ``[T, B, ...]`` of the layers that fire."""
        return self._of("spikes")

    @property
    def membrane(self) -> dict[str, Tensor]:
        """Membranes ``[T, B, ...]``, see :class:`LayerRecord`."""
        return self._of("membrane")

    @property
    def current(self) -> dict[str, Tensor]:
        """Currents ``[T, B, ...]``."""
        return self._of("current")

    @property
    def threshold(self) -> dict[str, Tensor]:
        """Thresholds ``[T, B, ...]`` of the layers that fire."""
        return self._of("threshold")

    @property
    def rates(self) -> dict[str, float]:
        """Mean spikes a step of the layers that fire."""
        return {name: float(layer.rate) for name, layer in self._layers.items() if layer.rate is not None}

    def take(self, name: str, layer: SpikingLayer, firing: Firing) -> None:
        """Add a forward of a layer, in place of an earlier one."""
        spec, spikes = layer.spec, firing.spikes
        membrane: Tensor | None = None if spec.spiking else spikes.detach()
        level: Tensor | None = None
        if isinstance(spec, SpikingSpec) and {"membrane", "threshold"} & {*self.wanted}:
            membrane, level = compared(layer, spec, firing)
        rate = None
        if spec.spiking:
            total, number = over_neurons(spikes.detach(), firing.valid)
            rate = total.sum() / (number * len(total))
        self._layers.pop(name, None)  # so that the order is that of the last forward
        self._layers[name] = LayerRecord(
            kind=spec.kind,
            spikes=spikes if spec.spiking and "spikes" in self.wanted else None,
            membrane=membrane if "membrane" in self.wanted else None,
            current=firing.currents if "current" in self.wanted else None,
            threshold=level if "threshold" in self.wanted else None,
            valid=firing.valid,
            rate=rate,
            shape=tuple(spikes.shape),
        )

    def _of(self, what: Quantity) -> dict[str, Tensor]:
        if what not in self.wanted:
            raise UserError(
                f'{what} was not recorded, only {", ".join(self.wanted)}; record it with neurozoo.record(net, "{what}")'
            )
        found = {name: getattr(layer, what) for name, layer in self._layers.items()}
        return {name: each for name, each in found.items() if each is not None}

    def __getitem__(self, name: str) -> LayerRecord:
        if name not in self._layers:
            raise KeyError(f"no layer {name!r} has run; there are: {', '.join(self._layers) or 'none'}")
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        if not self._layers:
            return f"Record of {', '.join(self.wanted)}: no layer has run yet"
        lines = [f"  {name or 'the network'}: {layer}" for name, layer in self._layers.items()]
        return "\n".join([f"Record of {', '.join(self.wanted)}", *lines])


@contextmanager
def record(net: nn.Module, *what: Quantity) -> Iterator[Record]:
    """Record what goes through each layer of neurons inside the block.

    A later forward replaces an earlier one, and of a layer that runs several times in one forward the last run stays.
    Spikes and currents keep their graph, so that a loss may use them; membranes and thresholds are computed from the
    currents in plain torch, and have none.

    Args:
        net: Any module with layers of neurons of neurozoo.
        what: ``spikes``, ``membrane``, ``current``, ``threshold``; by default the spikes.

    Raises:
        UserError: The network has no such layer, or there is no such quantity.

    Example:
        >>> with nz.record(net, "spikes", "membrane") as seen:
        ...     net(x)
        >>> seen.spikes["1"].shape  # [T, B, ...]
        torch.Size([25, 16, 128])
    """
    known = get_args(Quantity)
    for each in what:
        if each not in known:
            raise UserError(
                f"nothing called {each!r} is recorded; there are: {', '.join(known)}{suggestion(str(each), known)}"
            )
    layers = layers_of(net)
    seen = Record(tuple(dict.fromkeys(what)) or ("spikes",))
    with recorded(net, lambda name, firing: seen.take(name, layers[name], firing)):
        yield seen
