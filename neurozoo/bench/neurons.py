"""Time and memory of the backends' neurons, forward and backward, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from neurozoo.bench.interleaved import in_turns
from neurozoo.compare.memory import peak_bytes
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Neuron
from neurozoo.errors import UserError
from neurozoo.registry.registry import default_registry

__all__ = ["SHAPE", "STEPS", "NeuronCost", "NeuronCosts", "measure_neurons"]

SHAPE = (256, 60, 128)
"""Neurons at a time by default: SMILE's first spiking layer, at its batch."""
STEPS = (5, 50)
THRESHOLD = 0.8
COPIES = "two copies"


@dataclass(frozen=True)
class NeuronCost:
    """What a backend's neurons take at one T.

    Attributes:
        backend: Its name.
        forward_ms: Median time of a forward without a gradient.
        both_ms: Median time of forward and backward, to the currents.
        peak_mib: The most that tensors take at a time in forward and backward, beyond what was there; None where the
            device does not tell. A backend's own memory outside of torch is not counted.
        kept_mib: What autograd keeps between forward and backward, beyond the currents that came in.
    """

    backend: str
    forward_ms: float
    both_ms: float
    peak_mib: float | None
    kept_mib: float


@dataclass(frozen=True)
class NeuronCosts:
    """What several backends take at one T.

    Attributes:
        kind: Which kind of neuron, with its default parameters.
        steps: T.
        shape: Of one step's currents, ``[B, ...]``.
        threads: Threads of torch.
        device: Where.
        rounds: How often each was timed.
        repeated: Whether all steps had the same current, expanded over T, as SMILE's have.
        copies_ms: Median time of copying two tensors of the currents' size into memory that is there.
        backends: One each.
    """

    kind: str
    steps: int
    shape: tuple[int, ...]
    threads: int
    device: str
    rounds: int
    repeated: bool
    copies_ms: float
    backends: tuple[NeuronCost, ...]


def measure_neurons(
    backends: Sequence[str],
    steps: int,
    *,
    kind: str = "lif",
    shape: Sequence[int] = SHAPE,
    rounds: int = 15,
    repeated: bool = False,
    device: torch.device | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> NeuronCosts:
    """Time the backends' neurons alternately on the same currents, with a kind's default parameters.

    The arguments are those of :class:`NeuronCosts`. ``on_progress`` gets a backend's name before it is prepared.

    Raises:
        UserError: A backend is not known or not installed; or there is no such kind.
        SpikingError: A backend does not run such neurons.
    """
    device = device or torch.device("cpu")
    if kind not in KINDS:
        raise UserError(f"no kind of neuron is called {kind!r}; there are: {', '.join(KINDS)}")
    registry, spec = default_registry(), KINDS[kind]()
    neurons: Mapping[str, Neuron] = {name: registry.resolve("neuron", name)(spec) for name in backends}
    random = torch.Generator().manual_seed(0)
    sizes = shape if repeated else (steps, *shape)
    current = torch.randn(*sizes, generator=random).mul_(1.5).add_(0.5).to(device)
    leaf, weights = current.requires_grad_(), torch.randn(steps, *shape, generator=random).to(device)
    copied = torch.zeros_like(weights), torch.zeros_like(weights)

    def scanned(neuron: Neuron) -> torch.Tensor:  # as the layer does, which keeps no state
        return (neuron.hold(leaf, steps, None, THRESHOLD) if repeated else neuron.scan(leaf, None, THRESHOLD))[0]

    def forward(neuron: Neuron) -> None:
        with torch.no_grad():
            scanned(neuron)

    def both(neuron: Neuron) -> None:
        torch.autograd.grad(scanned(neuron), leaf, weights)

    def copies() -> None:
        for goal in copied:
            goal.copy_(weights)

    def kept(neuron: Neuron) -> int:
        saved: dict[int, int] = {}

        def save(tensor: torch.Tensor) -> torch.Tensor:
            memory = tensor.untyped_storage()
            saved[memory.data_ptr()] = memory.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            scanned(neuron)
        saved.pop(leaf.untyped_storage().data_ptr(), None)
        return sum(saved.values())

    peaks: dict[str, int | None] = {}
    for name, neuron in neurons.items():
        if on_progress is not None:
            on_progress(name)
        both(neuron)  # what is made once
        peaks[name] = peak_bytes(partial(both, neuron), device)
    runs: dict[str, Callable[[], object]] = {COPIES: copies}
    for name, neuron in neurons.items():
        runs |= {f"{name} forward": partial(forward, neuron), f"{name} both": partial(both, neuron)}
    times = {name: median(each) for name, each in in_turns(runs, rounds, device).items()}
    found = tuple(
        NeuronCost(
            name,
            times[f"{name} forward"],
            times[f"{name} both"],
            None if peak is None else peak / 2**20,
            kept(neurons[name]) / 2**20,
        )
        for name, peak in peaks.items()
    )
    return NeuronCosts(
        kind, steps, tuple(shape), torch.get_num_threads(), str(device), rounds, repeated, times[COPIES], found
    )
