"""Time of a step of one recurrent layer on engines, by width and firing rate, next to a gated net of equal width."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from neurozoo.bench.interleaved import in_turns
from neurozoo.core.engine import Engine
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.errors import UserError
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["GATED", "EngineCost", "measure_engines"]

GATED = "torch.nn.GRU"
"""Name of the gated net among the times."""
_STEPS, _INPUTS, _SPREAD = 100, 700, 0.05


@dataclass(frozen=True)
class EngineCost:
    """Times of one size.

    Attributes:
        neurons: N, recurrent.
        rate: Wanted spikes of a neuron in a step, which the inputs have as well.
        found: The rate that the neurons had.
        batch: B.
        steps: T of a run, of ``inputs`` spike trains.
        inputs: D.
        threads: Of torch.
        microseconds: Of a step, medians, by name: engines, backends that run without one, and the gated net.
        engines: Those of the names that are engines.
        row_bytes: Bytes of weights that the events of a step read.
    """

    neurons: int
    rate: float
    found: float
    batch: int
    steps: int
    inputs: int
    threads: int
    microseconds: dict[str, float]
    engines: tuple[str, ...]
    row_bytes: float

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long others take as the fastest engine, by name; empty without an engine."""
        best = min((self.microseconds[name] for name in self.engines), default=None)
        if best is None:
            return {}
        return {name: each / best for name, each in self.microseconds.items() if name not in self.engines}


@torch.no_grad()
def measure_engines(
    neurons: int, rate: float, *, batch: int = 1, rounds: int = 7, registry: Registry | None = None
) -> EngineCost:
    """Time a recurrent layer of LIF neurons on random spikes: engines, backends, a gated net of equal width.

    The threshold is chosen such that the neurons fire at the wanted rate.

    Args:
        neurons: N.
        rate: Above 0 and at most 0.4, of inputs and neurons.
        batch: B.
        rounds: How often each is timed; they take turns.
        registry: Where engines and backends are looked up; by default all that is installed.

    Raises:
        UserError: The rate is not above 0 and at most 0.4, or the neurons do not reach it.
    """
    if not 0 < rate <= 0.4:
        raise UserError(f"a rate of {rate:g} spikes a step is not above 0 and at most 0.4; give such a one")
    registry = registry or default_registry()
    generator = torch.Generator().manual_seed(neurons)
    layer = _layer(TorchNeuron(LIFSpec()), neurons, generator)
    x = (torch.rand(_STEPS, batch, _INPUTS, generator=generator) < rate).float()
    level, found = _level(layer, x, rate)
    runs: dict[str, Callable[[], object]] = {}
    engines = []
    for name in registry.usable("engine"):
        if name != "dense":
            engine: Engine = registry.resolve("engine", name)()
            run = engine.layer(layer)
            runs[name] = partial(run.run, x, None, level)
            engines.append(name)
    for name in registry.usable_backends():
        neuron: type[Neuron] = registry.resolve("neuron", name)
        if neuron.supports(LIFSpec()):
            runs[name] = partial(_sharing(layer, neuron(LIFSpec())), x, level)
    gated = nn.GRU(_INPUTS, neurons)
    runs[GATED] = partial(gated, x)
    times = in_turns(runs, rounds)
    each = {name: 1000 * median(milliseconds) / _STEPS for name, milliseconds in times.items()}
    rows = float(x.sum()) / _STEPS + found * neurons * batch
    threads = torch.get_num_threads()
    return EngineCost(neurons, rate, found, batch, _STEPS, _INPUTS, threads, each, tuple(engines), rows * neurons * 4)


def _layer(neuron: Neuron, neurons: int, generator: torch.Generator) -> SpikingLayer:
    """A layer whose recurrent weights are too small to keep it firing without inputs."""
    synapse, back = nn.Linear(_INPUTS, neurons), nn.Linear(neurons, neurons, bias=False)
    synapse.weight.copy_(torch.randn(synapse.weight.shape, generator=generator))
    back.weight.copy_(_SPREAD * neurons**-0.5 * torch.randn(back.weight.shape, generator=generator))
    nn.init.zeros_(synapse.bias)
    return SpikingLayer(neuron, synapse, recurrent=back).eval()


def _sharing(layer: SpikingLayer, neuron: Neuron) -> SpikingLayer:
    return SpikingLayer(neuron, layer.synapse, recurrent=layer.recurrent).eval()


def _level(layer: SpikingLayer, x: Tensor, rate: float) -> tuple[float, float]:
    """Return the threshold at which neurons fire at a rate, and the rate; by bisection."""
    low, high, level, found = 0.0, 1000.0, 1.0, 0.0
    for _ in range(40):
        level = (low + high) / 2
        spikes = layer(x, level)
        found = float(spikes.mean())
        if abs(found - rate) < 0.05 * rate + 2 / spikes.numel():
            return level, found
        low, high = (level, high) if found > rate else (low, level)
    raise UserError(f"the neurons fire at {found:g} and not at {rate:g}; give another rate, such as 0.02")
