"""Estimate the energy of counted operations from published costs of single operations; nothing is measured.

Costs are for a 45 nm process at 0.9 V, for 32-bit numbers (Horowitz, "Computing's energy problem (and what we can
do about it)", ISSCC 2014, figure 1.1.9): a floating-point multiplication 3.7 pJ, an addition 0.9 pJ; reading 64 bits of
a memory of 8 KB 10 pJ, of 32 KB 20 pJ, of 1 MB 100 pJ, of DRAM 1.3 to 2.6 nJ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from neurozoo.errors import UserError
from neurozoo.operations.result import Counts, LayerOperations
from neurozoo.operations.synaptic import MOST_ACCUMULATIONS

__all__ = [
    "AC",
    "ACTIVATION",
    "MAC",
    "MEMORIES",
    "UPDATE",
    "Energy",
    "Memory",
    "assumptions",
    "dense_energy",
    "energy_of",
    "memory_for",
    "stepwise",
]

MULTIPLICATION, ADDITION = 3.7, 0.9
"""In pJ."""
MAC = MULTIPLICATION + ADDITION
"""A multiplication with accumulation, in pJ."""
AC = ADDITION
"""An accumulation, in pJ."""
UPDATE = MAC + AC
"""A membrane update, in pJ: leak and input as a multiplication with accumulation, and the comparison."""
ACTIVATION = MULTIPLICATION + AC
"""A ReLU of the control, in pJ: the division by the threshold as a multiplication, and the comparison."""
UPDATE_WORDS, ACTIVATION_WORDS = 3, 2
"""Words of memory: a membrane update reads current and state and writes its state; a ReLU reads and writes one."""


@dataclass(frozen=True)
class Memory:
    """A memory of the paper's table.

    Attributes:
        name: Its name in tables.
        holds: Capacity in bytes; None if unlimited.
        word: Energy to access 32 bits, half that of 64 bits, in pJ.
    """

    name: str
    holds: int | None
    word: float


MEMORIES = (
    Memory("8 KB of SRAM", 2**13, 5.0),
    Memory("32 KB of SRAM", 2**15, 10.0),
    Memory("1 MB of SRAM", 2**20, 50.0),
    Memory("DRAM", None, 650.0),
)
"""From the smallest; DRAM with the lower figure."""


@dataclass(frozen=True)
class Energy:
    """An estimate for one sample.

    Attributes:
        operations: Energy of the operations, in pJ.
        memory: Energy of the memory traffic, in pJ.
    """

    operations: float = 0.0
    memory: float = 0.0

    def __str__(self) -> str:
        return (
            f"operations {self.operations / 1000:.4g} nJ, memory {self.memory / 1000:.4g} nJ a sample: an estimate, "
            "whose assumptions neurozoo.operations.energy.assumptions lists"
        )

    def __add__(self, other: Energy) -> Energy:
        return Energy(self.operations + other.operations, self.memory + other.memory)


def memory_for(counts: Counts) -> Memory:
    """Return the smallest memory that holds a network's parameters and buffers."""
    return next(memory for memory in MEMORIES if memory.holds is None or counts.bytes <= memory.holds)


def energy_of(counts: Counts, layers: Iterable[LayerOperations] | None = None) -> Energy:
    """Return the energy of a sample if every operation with a zero is skipped.

    Args:
        counts: The network's operations.
        layers: Layers to sum over; by default all.

    Raises:
        UserError: A network was given in place of its counts.
    """
    if not isinstance(counts, Counts):
        raise UserError(
            f"energy was given a {type(counts).__name__}; give the counts of a network and its input: "
            "energy(count_operations(net, x))"
        )
    word, total = memory_for(counts).word, Energy()
    for layer in counts.layers if layers is None else layers:
        spiking = layer.kind == "neurons"
        update, words = (UPDATE, UPDATE_WORDS) if spiking else (ACTIVATION, ACTIVATION_WORDS)
        operations = MAC * layer.macs + AC * layer.acs + update * layer.updates
        total += Energy(operations, word * (layer.effective + words * layer.updates))
    return Energy(counts.a_sample(1) * total.operations, counts.a_sample(1) * total.memory)


def stepwise(counts: Counts) -> Counts:
    """Return the counts if an input held over several steps were multiplied again at each step."""
    multiplied = ("dense", "macs", "acs", "repeated")
    layers = (
        replace(layer, **{what: layer.presented * getattr(layer, what) for what in multiplied})
        for layer in counts.layers
    )
    return replace(counts, layers=tuple(layers))


def dense_energy(counts: Counts) -> float:
    """Return the energy of a sample's operations on dense hardware, which skips nothing and uses MACs only, in pJ."""
    updates = sum((UPDATE if layer.kind == "neurons" else ACTIVATION) * layer.updates for layer in counts.layers)
    return counts.a_sample(1) * (MAC * counts.total(lambda layer: layer.dense) + updates)


def assumptions(counts: Counts) -> list[str]:
    """Return the estimate's assumptions, in sentences."""
    memory = memory_for(counts)
    return [
        f"An estimate, and nothing measured: 45 nm, float32, {MAC:g} pJ a MAC ({MULTIPLICATION:g} to multiply, "
        f"{ADDITION:g} to add), {AC:g} pJ an AC (Horowitz, ISSCC 2014). Operations with a zero are skipped, and that "
        "costs nothing.",
        f"A whole number n up to {MOST_ACCUMULATIONS}, such as a sum of spikes, takes n ACs, as "
        f"{MOST_ACCUMULATIONS} of them cost less than a MAC; a larger one takes a MAC. Its weight is read once.",
        f"A membrane update is a MAC and a comparison, {UPDATE:.1f} pJ; a ReLU of the control a multiplication by "
        f"1/threshold and a comparison, {ACTIVATION:.1f} pJ. Norms, softmax, biases and positions are left out: both "
        "networks have the same.",
        f"Memory is counted separately: {memory.name}, the smallest of the paper that holds the {counts.bytes:,} bytes "
        f"of parameters and buffers, {memory.word:g} pJ for 32 bits (half of its 64). An operation reads one word, a "
        f"membrane update moves {UPDATE_WORDS}, a ReLU {ACTIVATION_WORDS}. No word is used twice, which favours the "
        "network with fewer operations: hardware for dense networks reads a weight once for many of them.",
    ]
