"""What autograd keeps for the backward, in less memory and to the bit.

Spikes, their sums and the places of maxima are small whole numbers; they are kept in one or two bytes each. The result
of a batch norm that drives neurons is computed again from its input, which is kept anyway.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing import reductions

__all__ = ["compact_saves", "known_spikes", "recomputable", "saves_compactly"]

LARGE = 2**16
"""Numbers in a tensor from which on it is worth it."""

# Tells whether memory is still in use; without it a new tensor at the same address would be taken for an old one.
StorageWeakRef: Any = reductions.StorageWeakRef


@dataclass(eq=False)
class _Packed:
    """A tensor as smaller whole numbers."""

    numbers: Tensor
    dtype: torch.dtype


class _AsItIs(NamedTuple):
    """A tensor, and its version when it was kept: torch does not check that where saved tensors have hooks.

    It is detached: the output of an operation that keeps it would otherwise keep that operation, in a circle that
    nothing collects where no backward follows. torch gives it back its place in the graph.
    """

    tensor: Tensor
    version: int

    @staticmethod
    def of(x: Tensor) -> _AsItIs:
        """Keep a tensor; its version is that of the memory, which both share."""
        return _AsItIs(x.detach(), x._version)

    def unchanged(self) -> Tensor:
        """Return the tensor.

        Raises:
            RuntimeError: It was changed in place since.
        """
        if self.tensor._version != self.version:
            raise RuntimeError(
                f"a tensor {list(self.tensor.shape)} that the backward needs was changed in place after the forward; "
                "compute the change out of place"
            )
        return self.tensor


@dataclass(eq=False)
class _Recomputed:
    """A tensor that a function returns of another."""

    compute: Callable[[Tensor], Tensor]
    source: _AsItIs
    shape: torch.Size


@dataclass
class _Saves:
    """What is known of the tensors of one forward, by the address of their first number.

    Attributes:
        packed: The memory, the strides, and what it was packed as, which saves of one tensor share.
        functions: The memory, the number of elements, and what computes it again of which tensor.
        spikes: The memory and the number of elements of tensors that hold 0 and 1 alone.
        held: The same of inputs, which the caller keeps in any case.
    """

    packed: dict[int, tuple[Any, object, weakref.ref[_Packed]]] = field(default_factory=dict)
    functions: dict[int, tuple[Any, int, Callable[[Tensor], Tensor], _AsItIs]] = field(default_factory=dict)
    spikes: dict[int, tuple[Any, int]] = field(default_factory=dict)
    held: frozenset[int] = frozenset()

    def pack(self, x: Tensor) -> object:
        """Return what to keep instead of a tensor."""
        if x.numel() < LARGE or x.device.type != "cpu" or type(x) is not Tensor or 0 in x.stride():
            return _AsItIs.of(x)
        place, changed = x.data_ptr(), x._version > 0
        if place in self.held:
            return _AsItIs.of(x)
        known = None if changed else self.functions.get(place)
        if known is not None and not known[0].expired() and known[1] == x.numel() and x.is_contiguous():
            return _Recomputed(known[2], known[3], x.shape)
        form = (x.shape, x.stride(), x.dtype, x._version)
        if (shared := self.packed.get(place)) is not None and not shared[0].expired() and shared[1] == form:
            found = shared[2]()
            if found is not None:
                return found
        fired = None if changed else self.spikes.get(place)
        binary = fired is not None and fired[1] == x.numel() and not fired[0].expired()
        numbers = x.to(torch.uint8) if binary else _small(x)
        if numbers is None:
            return _AsItIs.of(x)
        made = _Packed(numbers, x.dtype)
        self.packed[place] = (StorageWeakRef(x.untyped_storage()), form, weakref.ref(made))
        return made


_SAVES: ContextVar[_Saves | None] = ContextVar("saves", default=None)


@contextmanager
def compact_saves(held: Iterable[Tensor] = ()) -> Iterator[None]:
    """Keep less for the backward of a forward inside the block; only on the CPU.

    Args:
        held: Inputs that the caller keeps in any case, of which a smaller copy takes more memory.

    Nothing changes without gradients, where code is traced or transformed, or inside another's hooks on saved tensors.
    """
    if (
        not torch.is_grad_enabled()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
    ):
        yield
        return
    # The address suffices, since a frame of the caller has the tensors while this forward makes others.
    saves = _Saves(held=frozenset(x.data_ptr() for x in held if x.layout == torch.strided))
    token = _SAVES.set(saves)
    try:
        with torch.autograd.graph.saved_tensors_hooks(saves.pack, _unpack):
            yield
    finally:
        _SAVES.reset(token)


def saves_compactly() -> bool:
    """Whether a forward is running for which less is kept."""
    return not torch.compiler.is_compiling() and _SAVES.get() is not None


def recomputable(x: Tensor, compute: Callable[[Tensor], Tensor], source: Tensor) -> None:
    """Let ``x`` be computed again where a backward needs it, by a function of ``source`` that returns it to the bit.

    The function must not keep ``x`` itself, and runs without gradients.
    """
    saves = None if torch.compiler.is_compiling() else _SAVES.get()
    if saves is not None and x.device.type == "cpu" and x.numel() >= LARGE:
        saves.functions[x.data_ptr()] = (
            StorageWeakRef(x.untyped_storage()), x.numel(), compute, _AsItIs.of(source)
        )  # fmt: skip


def known_spikes(x: Tensor) -> None:
    """Declare that a tensor holds 0 and 1 alone, so that it is packed without a look."""
    saves = None if torch.compiler.is_compiling() else _SAVES.get()
    if saves is not None and x.device.type == "cpu" and x.numel() >= LARGE:
        saves.spikes[x.data_ptr()] = (StorageWeakRef(x.untyped_storage()), x.numel())


def _unpack(kept: object) -> Tensor:
    if type(kept) is _AsItIs:
        return kept.unchanged()
    if isinstance(kept, _Packed):
        return kept.numbers.to(kept.dtype)
    assert isinstance(kept, _Recomputed)
    with torch.no_grad():
        return kept.compute(kept.source.unchanged()).view(kept.shape)


def _small(x: Tensor) -> Tensor | None:
    """Return whole numbers as bytes, or numbers of two bytes for integers; None if they are others."""
    if x.dtype == torch.int64:
        low, high = torch.aminmax(x)
        if low < 0 or high >= 2**15:
            return None
        return x.to(torch.uint8 if high < 2**8 else torch.int16)
    if x.dtype not in (torch.float32, torch.float64):
        return None
    row = x[(0,) * (x.dim() - 1)][:64]
    if not torch.equal(row.to(torch.uint8).to(x.dtype), row):  # real numbers, without a look at all of them
        return None
    numbers = x.to(torch.uint8)
    # Converted back, since a comparison of two types takes three times as long.
    return numbers if torch.equal(numbers.to(x.dtype), x) else None
