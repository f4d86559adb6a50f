"""What an engine costs against firing rate, width and batch, where others cross it, on frames, and at equal score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from neurozoo.bench.engines import EngineCost, gated_nets, measure_engines, ratios_of, side_by_side
from neurozoo.core.engine import Engine
from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.core.neuron import Neuron
from neurozoo.core.recording import neuron_layers, recorded, spiking_layers
from neurozoo.core.signals import Batch, Signal
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.loading import load

__all__ = [
    "AT", "CHANNELS", "EQUAL", "CrossingRate", "EqualScore", "FrameCost", "Point", "Sweep", "crossings",
    "measure_equal", "measure_frames", "measure_sweep", "points",
]  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A size that is measured: N neurons, spikes of a neuron in a step, B samples."""

    neurons: int = 512
    rate: float = 0.02
    batch: int = 1

    @property
    def steps(self) -> int:
        """T of a run: fewer where a step takes long."""
        return 100 if self.neurons * self.batch <= 1024 else 20


AT = Point()
"""Through which the lines of rates, widths and batches go."""
RATES = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5)
WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
BATCHES = (1, 4, 16, 64)
QUICK: Mapping[str, Sequence[Any]] = {"rates": (0.005, 0.02, 0.1, 0.5), "widths": (64, 512), "batches": (1, 16)}
CHANNELS = ((2, 16), (16, 32))
"""Of the convolutions that are measured, inputs and outputs."""
SIDE, ACTIVE = 128, 0.05
"""Pixels of a frame's side, and the share of its numbers that are not 0."""


@dataclass(frozen=True)
class CrossingRate:
    """Where another way becomes as fast as the fastest engine, at one width and batch.

    Attributes:
        name: Of the other way.
        neurons: N.
        batch: B.
        rate: Spikes of a neuron in a step, interpolated between measured rates on logarithmic axes; 0 if the other way
            is ahead at the lowest rate, infinite if it is behind at the highest.
        least: The lowest and
        most: the highest rate that was measured.
    """

    name: str
    neurons: int
    batch: int
    rate: float
    least: float
    most: float


@dataclass(frozen=True)
class FrameCost:
    """A layer of convolution and LIF neurons on frames.

    Attributes:
        channels: Of the inputs.
        outputs: Channels of the neurons.
        side: Pixels, of height and width.
        active: Share of the inputs that are not 0.
        layout: How a frame lies in memory: ``by channel`` or ``by place``.
        milliseconds: Of a frame, medians, by name.
        engines: Those of the names that are engines.
    """

    channels: int
    outputs: int
    side: int
    active: float
    layout: str
    milliseconds: dict[str, float]
    engines: tuple[str, ...]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long others take as the fastest engine, by name."""
        return ratios_of(self.milliseconds, self.engines)


@dataclass(frozen=True)
class Equal:
    """A packed model whose gated net has its score within the intervals of both.

    Attributes:
        recipe: Its recipe, which has the gated net as a variant.
        rate: Events of an input in a step, as in its data.
    """

    recipe: str
    rate: float


EQUAL: Mapping[str, Equal] = {"braille-events": Equal("braille_events", 0.022), "asc": Equal("asc", 0.35)}
"""By the name of the model; scores and counts of events are those of the page "Time and spikes"."""
VARIANT = "gated recurrent net"


@dataclass(frozen=True)
class EqualScore:
    """A trained model and the gated net of equal score, on one random sample of its data's rate.

    Attributes:
        model: Name of the packed model.
        hidden: Units of the gated net.
        steps: T of a sample.
        rate: Events of an input in a step.
        fired: Spikes of a neuron in a step.
        microseconds: Of a sample, medians, by name.
        engines: Those of the names that are engines.
    """

    model: str
    hidden: int
    steps: int
    rate: float
    fired: float
    microseconds: dict[str, float]
    engines: tuple[str, ...]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long others take as the fastest engine, by name."""
        return ratios_of(self.microseconds, self.engines)


@dataclass(frozen=True)
class Sweep:
    """All of the above.

    Attributes:
        costs: Of the points.
        frames: Of the convolutions.
        equal: Of trained models next to gated nets.
        rounds: How often each was timed.
    """

    costs: tuple[EngineCost, ...]
    frames: tuple[FrameCost, ...]
    equal: tuple[EqualScore, ...]
    rounds: int

    def along_rates(self, batch: int) -> list[EngineCost]:
        """Return the costs of one batch at the width of :data:`AT`, by rate."""
        return sorted(
            (each for each in self.costs if (each.neurons, each.batch) == (AT.neurons, batch)), key=lambda c: c.rate
        )

    def along_widths(self) -> list[EngineCost]:
        """Return the costs of one sample at the rate of :data:`AT`, by width."""
        return sorted((c for c in self.costs if (c.rate, c.batch) == (AT.rate, AT.batch)), key=lambda c: c.neurons)

    def along_batches(self) -> list[EngineCost]:
        """Return the costs at width and rate of :data:`AT`, by batch."""
        return sorted((c for c in self.costs if (c.rate, c.neurons) == (AT.rate, AT.neurons)), key=lambda c: c.batch)


def points(quick: bool = False) -> list[Point]:
    """Return what is measured: lines of rates at the smallest and the largest batch, of widths, and of batches."""
    rates, widths, batches = (QUICK[k] for k in ("rates", "widths", "batches")) if quick else (RATES, WIDTHS, BATCHES)
    made = [Point(rate=rate) for rate in rates]
    made += [Point(neurons=width) for width in widths]
    made += [Point(batch=batch) for batch in batches]
    made += [Point(rate=rate, batch=batches[-1]) for rate in rates]
    return list(dict.fromkeys(made))


def measure_sweep(
    *,
    quick: bool = False,
    rounds: int = 7,
    registry: Registry | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Sweep:
    """Measure all of the page: :func:`points`, convolutions, and trained models next to gated nets.

    Args:
        quick: Fewer points, and one convolution.
        rounds: How often each is timed.
        registry: Where engines and backends are looked up; by default all that is installed.
        on_progress: Called before each is measured, with its name.
    """
    registry = registry or default_registry()
    costs = []
    for each in points(quick):
        on_progress(f"{each.neurons:,} neurons, {100 * each.rate:g} %, {each.batch} at a time")
        costs.append(
            measure_engines(
                each.neurons, each.rate, batch=each.batch, steps=each.steps, rounds=rounds, registry=registry
            )
        )
    frames = []
    for channels, outputs in CHANNELS[:1] if quick else CHANNELS:
        on_progress(f"frames of {channels} channels to {outputs}")
        frames += measure_frames(channels, outputs, rounds=rounds, registry=registry)
    equal = []
    for model in EQUAL:
        on_progress(f"{model} and its gated net")
        equal.append(measure_equal(model, rounds=rounds, registry=registry))
    return Sweep(tuple(costs), tuple(frames), tuple(equal), rounds)


def crossings(costs: Sequence[EngineCost]) -> list[CrossingRate]:
    """Return where others become as fast as the fastest engine; costs are of one width and batch, in order of rates."""
    if not costs:
        return []
    first, last = costs[0], costs[-1]
    return [
        CrossingRate(name, first.neurons, first.batch, _crossing(costs, name), first.rate, last.rate)
        for name in first.ratios
    ]


def _crossing(costs: Sequence[EngineCost], name: str) -> float:
    if costs[0].ratios[name] <= 1:
        return 0.0
    for low, high in pairwise(costs):
        before, after = math.log(low.ratios[name]), math.log(high.ratios[name])
        if after <= 0:
            share = before / (before - after)
            return math.exp(math.log(low.rate) + share * math.log(high.rate / low.rate))
    return math.inf


def _engines(registry: Registry) -> Iterator[tuple[str, Engine]]:
    for name in registry.usable("engine"):
        if name != "dense":
            yield name, registry.resolve("engine", name)()


@torch.no_grad()
def measure_frames(
    channels: int,
    outputs: int,
    *,
    side: int = SIDE,
    active: float = ACTIVE,
    frames: int = 4,
    rounds: int = 7,
    registry: Registry | None = None,
) -> list[FrameCost]:
    """Time a convolution of 3 x 3 with LIF neurons on random frames, as they lie in memory by channel and by place."""
    registry = registry or default_registry()
    generator = torch.Generator().manual_seed(channels)
    synapse = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
    synapse.weight.copy_(torch.randn(synapse.weight.shape, generator=generator))
    layer = SpikingLayer(TorchNeuron(LIFSpec()), synapse).eval()
    by_channel = (torch.rand(frames, 1, channels, side, side, generator=generator) < active).float()
    by_place = by_channel.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    runs: dict[str, Callable[[], object]] = {}
    layouts = {"by channel": by_channel, "by place": by_place}
    for layout, x in layouts.items():
        for name, engine in _engines(registry):
            runs[f"{layout}/{name}"] = partial(engine.layer(layer).run, x)
        for name in registry.usable_backends():
            neuron: type[Neuron] = registry.resolve("neuron", name)
            if neuron.supports(LIFSpec()):
                runs[f"{layout}/{name}"] = partial(SpikingLayer(neuron(LIFSpec()), synapse).eval(), x)
    times = {name: each / frames for name, each in side_by_side(runs, rounds).items()}
    engines = tuple(name for name, _ in _engines(registry))
    return [
        FrameCost(
            channels, outputs, side, active, layout,
            {name.partition("/")[2]: each for name, each in times.items() if name.startswith(f"{layout}/")}, engines,
        )
        for layout in layouts
    ]  # fmt: skip


class _GatedModel(nn.Module):
    """A gated net and a linear, ``[T, B, D]`` to the mean ``[B, K]`` over the steps."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.net, self.head = nn.GRU(inputs, hidden), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.net(x)[0]).mean(0)
        return answer


@torch.no_grad()
def measure_equal(model: str, *, rounds: int = 7, registry: Registry | None = None) -> EqualScore:
    """Time a trained model of :data:`EQUAL` on engines and backends, and the gated net that its recipe compares with.

    Args:
        model: A packed model.
        rounds: How often each is timed.
        registry: Where engines and backends are looked up; by default all that is installed.
    """
    registry = registry or default_registry()
    case = EQUAL[model]
    overrides = load_recipe(case.recipe, registry=registry).ablations[VARIANT]
    hidden = int(load_recipe(case.recipe, overrides, registry=registry).model.params["hidden"])
    plain = load(model, backend="torch").module
    ((signal, shape),) = plain.problem.signals.items()
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(1, shape.length, *shape.shape, generator=generator) < case.rate).float()
    batch = Batch({signal: Signal(x)})
    with recorded(plain) as firings:
        plain(batch)
    spikes = [firings[name].spikes for name in spiking_layers(plain)]
    fired = float(sum(each.sum() for each in spikes)) / sum(each.numel() for each in spikes)
    runs: dict[str, Callable[[], object]] = {}
    engines = [name for name, _ in _engines(registry)]
    for name in engines:
        runs[name] = partial(load(model, backend="torch", engine=name).module, batch)
    for name in registry.usable_backends():
        if all(registry.resolve("neuron", name).supports(each.spec) for each in neuron_layers(plain).values()):
            runs[name] = partial(load(model, backend=name).module, batch)
    steps = x.transpose(0, 1).contiguous()
    runs |= gated_nets(_GatedModel(x.shape[-1], hidden, plain.problem.outputs), steps)
    times = {name: 1000 * each for name, each in side_by_side(runs, rounds).items()}
    return EqualScore(model, hidden, shape.length, case.rate, fired, times, tuple(engines))
