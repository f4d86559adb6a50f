"""Time and memory of the backends' neurons, forward and backward, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from neurozoo.bench.interleaved import in_turns, page_faults
from neurozoo.compare.memory import peak_bytes
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import Neuron
from neurozoo.errors import UserError
from neurozoo.registry.registry import default_registry

__all__ = ["SETTINGS", "SHAPE", "NeuronCost", "NeuronCosts", "measure_neurons"]

SHAPE = (256, 60, 128)
"""Neurons at a time by default: SMILE's first spiking layer, at its batch."""
FEWER = (64, *SHAPE[1:])
SETTINGS = ((5, SHAPE, False), (50, FEWER, False), (50, SHAPE, False), (5, SHAPE, True), (50, SHAPE, True))
"""T, neurons at a time and whether the currents are repeated, of the tables of ``docs/performance.md``."""
THRESHOLD = 0.8
COPIES, CURRENTS = "two copies", "new currents"


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
        loop_ms: Median time of a step of a plain loop, where nothing is used again, as in training: new currents,
            forward, backward by ``backward()``, and the release of all. It contains :attr:`NeuronCosts.currents_ms`.
        loop_faults: Median number of pages that the system gave the process in such a step, each of which it clears
            first; None where it does not count them, as on Windows.
    """

    backend: str
    forward_ms: float
    both_ms: float
    peak_mib: float | None
    kept_mib: float
    loop_ms: float
    loop_faults: int | None


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
        currents_ms: Median time of making new currents by a copy, which is the same for all backends.
        currents_faults: Pages that the system gave for it, see :attr:`NeuronCost.loop_faults`.
        currents_mib: Size of the currents of all steps.
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
    currents_ms: float
    currents_faults: int | None
    currents_mib: float
    backends: tuple[NeuronCost, ...]

    @property
    def least_loop_ms(self) -> float:
        """Time that no backend's step of the plain loop can be far below: new currents, and one pass a direction.

        A forward reads the currents and writes the outputs; a backward that recomputes reads currents and gradients
        and writes gradients. Copying two tensors makes four such passes.
        """
        return self.currents_ms + self.copies_ms / 4 * self.passes

    @property
    def passes(self) -> int:
        """Passes over all steps that forward and backward cannot do without; repeated currents are no pass."""
        return 2 if self.repeated else 5


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

    def scanned(neuron: Neuron, given: torch.Tensor = leaf) -> torch.Tensor:  # as the layer does, which keeps no state
        return (neuron.hold(given, steps, None, THRESHOLD) if repeated else neuron.scan(given, None, THRESHOLD))[0]

    def forward(neuron: Neuron) -> None:
        with torch.no_grad():
            scanned(neuron)

    def both(neuron: Neuron) -> None:
        torch.autograd.grad(scanned(neuron), leaf, weights)

    def currents() -> torch.Tensor:
        return current.detach().clone()

    def loop(neuron: Neuron) -> None:
        scanned(neuron, currents().requires_grad_()).backward(weights)  # type: ignore[no-untyped-call]

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
    runs: dict[str, Callable[[], object]] = {COPIES: copies, CURRENTS: currents}
    for name, neuron in neurons.items():
        runs |= {
            f"{name} forward": partial(forward, neuron),
            f"{name} both": partial(both, neuron),
            f"{name} loop": partial(loop, neuron),
        }
    times = {name: median(each) for name, each in in_turns(runs, rounds, device).items()}
    faults = {name: page_faults(runs[name], rounds) for name in (CURRENTS, *(f"{name} loop" for name in neurons))}
    found = tuple(
        NeuronCost(
            name,
            times[f"{name} forward"],
            times[f"{name} both"],
            None if peak is None else peak / 2**20,
            kept(neurons[name]) / 2**20,
            times[f"{name} loop"],
            faults[f"{name} loop"],
        )
        for name, peak in peaks.items()
    )
    return NeuronCosts(
        kind, steps, tuple(shape), torch.get_num_threads(), str(device), rounds, repeated, times[COPIES],
        times[CURRENTS], faults[CURRENTS], weights.nbytes / 2**20, found,
    )  # fmt: skip
