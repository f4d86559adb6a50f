"""Time of a step of one recurrent layer on engines and on others: libraries' own nets, backends, gated nets."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from neurozoo.bench.interleaved import in_turns
from neurozoo.core.engine import Engine
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.errors import UserError
from neurozoo.exporting.onnx_file import check_installed, open_onnx, save_onnx
from neurozoo.exporting.program import quiet
from neurozoo.registry.registry import Registry, default_registry

__all__ = [
    "GATED", "GATED_ONNX", "LAYER", "LEAST", "MOST", "EngineCost", "gated_nets", "measure_engines", "ratios_of",
    "side_by_side",
]  # fmt: skip

GATED, GATED_ONNX = "torch.nn.GRU", "GRU in ONNX Runtime"
"""Names of the gated nets among the times."""
LAYER = "recurrent-lif"
"""Name of a library's own form of the layer, see :meth:`neurozoo.core.neuron.Neuron.plain_networks`."""
MOST = 0.5
"""The highest rate that is measured."""
STEPS = 100
LEAST = 0.01
"""Seconds that a timing takes at least."""
_INPUTS, _SPREAD = 700, 0.05


def ratios_of(times: Mapping[str, float], engines: Sequence[str]) -> dict[str, float]:
    """Return how many times as long others take as the fastest engine, by name; empty without an engine."""
    best = min((times[name] for name in engines), default=None)
    return {} if best is None else {name: each / best for name, each in times.items() if name not in engines}


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
        microseconds: Of a step, medians, by name: engines, libraries and backends that run without one, gated nets.
        engines: Those of the names that are engines.
        row_bytes: Bytes of weights that the events of a step read.
        weight_bytes: Of all weights.
        copy_bytes: Bytes a second that a copy of as many bytes as all weights reads; it writes as many.
        libraries: Those of the names that are a library's own net.
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
    weight_bytes: int = 0
    copy_bytes: float = 0.0
    libraries: tuple[str, ...] = ()

    @property
    def fastest(self) -> float | None:
        """Microseconds of the fastest engine; None without one."""
        return min((self.microseconds[name] for name in self.engines), default=None)

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long others take as the fastest engine, by name; empty without an engine."""
        return ratios_of(self.microseconds, self.engines)

    @property
    def bytes_a_second(self) -> float | None:
        """Bytes of weights a second that the fastest engine reads; None without an engine."""
        return None if self.fastest is None else 1e6 * self.row_bytes / self.fastest


@torch.no_grad()
def measure_engines(
    neurons: int,
    rate: float,
    *,
    batch: int = 1,
    steps: int = STEPS,
    rounds: int = 7,
    registry: Registry | None = None,
) -> EngineCost:
    """Time a recurrent layer of LIF neurons on random spikes: engines, libraries, backends, gated nets of equal width.

    A library runs the layer as its documentation writes it, if its backend has that form, else as a backend of
    neurozoo. The threshold is chosen such that the neurons fire at the wanted rate.

    Args:
        neurons: N.
        rate: Above 0 and at most :data:`MOST`, of inputs and neurons.
        batch: B.
        steps: T of a run.
        rounds: How often each is timed; they take turns.
        registry: Where engines and backends are looked up; by default all that is installed.

    Raises:
        UserError: The rate is not above 0 and at most :data:`MOST`, or the neurons do not reach it.
    """
    if not 0 < rate <= MOST:
        raise UserError(f"a rate of {rate:g} spikes a step is not above 0 and at most {MOST}; give such a one")
    registry = registry or default_registry()
    generator = torch.Generator().manual_seed(neurons)
    layer = _layer(TorchNeuron(LIFSpec()), neurons, generator)
    x = (torch.rand(steps, batch, _INPUTS, generator=generator) < rate).float()
    level, found = _level(layer, x, rate)
    weights = sum(each.numel() for each in layer.parameters()) * 4
    runs: dict[str, Callable[[], object]] = {}
    engines = []
    for name in registry.usable("engine"):
        if name != "dense":
            engine: Engine = registry.resolve("engine", name)()
            runs[name] = partial(engine.layer(layer).run, x, None, level)
            engines.append(name)
    others, libraries = _others(layer, x, level, registry)
    runs |= others
    runs |= gated_nets(_Gated(_INPUTS, neurons), x)
    source = torch.zeros(weights // 4)
    runs[_COPY] = partial(torch.empty_like(source).copy_, source)
    times = side_by_side(runs, rounds)
    copied = times.pop(_COPY)
    each = {name: 1000 * milliseconds / steps for name, milliseconds in times.items()}
    rows = float(x.sum()) / steps + found * neurons * batch
    return EngineCost(
        neurons, rate, found, batch, steps, _INPUTS, torch.get_num_threads(), each, tuple(engines),
        rows * neurons * 4, weights, 1000 * weights / copied, tuple(libraries),
    )  # fmt: skip


_COPY = "a copy of the weights"


def side_by_side(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return median milliseconds by name.

    On one thread it is processor time: another process that takes the core lengthens long runs more often than short
    ones.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    return {name: median(times) for name, times in in_turns(runs, rounds, clock=clock, least=LEAST).items()}


class _Gated(nn.Module):
    """A gated net of all steps, ``[T, B, D]`` to ``[T, B, N]``."""

    def __init__(self, inputs: int, neurons: int) -> None:
        super().__init__()
        self.net = nn.GRU(inputs, neurons)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.net(x)[0]
        return states


def gated_nets(net: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """Return what runs a gated net on its input in torch, and in ONNX Runtime where that is installed."""
    runs: dict[str, Callable[[], object]] = {GATED: partial(net.eval(), x)}
    with suppress(UserError), tempfile.TemporaryDirectory() as folder:
        check_installed()
        with quiet():
            program = torch.export.export(net, (x,))
        path = Path(folder) / "gated.onnx"
        save_onnx(program, path, ["x"], ["outputs"], "the gated net")
        runs[GATED_ONNX] = partial(open_onnx(path), {"x": x})
    return runs


def _layer(neuron: Neuron, neurons: int, generator: torch.Generator) -> SpikingLayer:
    """A layer whose recurrent weights are too small to keep it firing without inputs."""
    synapse, back = nn.Linear(_INPUTS, neurons, bias=False), nn.Linear(neurons, neurons, bias=False)
    synapse.weight.copy_(torch.randn(synapse.weight.shape, generator=generator))
    back.weight.copy_(_SPREAD * neurons**-0.5 * torch.randn(back.weight.shape, generator=generator))
    return SpikingLayer(neuron, synapse, recurrent=back).eval()


def _others(
    layer: SpikingLayer, x: Tensor, level: float, registry: Registry
) -> tuple[dict[str, Callable[[], object]], list[str]]:
    """Return what runs the layer without an engine, by the names of the backends, and which are libraries' own nets."""
    synapse, back = layer.synapse, layer.recurrent
    assert isinstance(synapse, nn.Linear)
    assert isinstance(back, nn.Linear)
    runs: dict[str, Callable[[], object]] = {}
    by_sample, libraries = x.transpose(0, 1).contiguous(), []
    for name in registry.usable_backends():
        neuron: type[Neuron] = registry.resolve("neuron", name)
        network = neuron.plain_networks().get(LAYER)
        if network is not None:
            params = {"weight": synapse.weight, "back": back.weight, "threshold": level}
            runs[name] = partial(network((_INPUTS,), len(x), len(back.weight), params).eval(), by_sample)
            libraries.append(name)
        elif neuron.supports(LIFSpec()):
            sharing = SpikingLayer(neuron(LIFSpec()), synapse, recurrent=back).eval()
            runs[name] = partial(sharing, x, level)
    return runs, libraries


def _level(layer: SpikingLayer, x: Tensor, rate: float) -> tuple[float, float]:
    """Return the threshold at which neurons fire at a rate, and the rate; by bisection."""
    # Half of the currents are below 0: to fire at a high rate, neurons need a threshold below their rest.
    low, high, level, found = -100.0, 1000.0, 1.0, 0.0
    for _ in range(40):
        level = (low + high) / 2
        spikes = layer(x, level)
        found = float(spikes.mean())
        if abs(found - rate) < 0.05 * rate + 2 / spikes.numel():
            return level, found
        low, high = (level, high) if found > rate else (low, level)
    raise UserError(f"the neurons fire at {found:g} and not at {rate:g}; give another rate, such as 0.02")
