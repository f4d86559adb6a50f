"""Communication between the processes of a data-parallel training; all functions are no-ops in a single process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from neurozoo.errors import NeurozooError

__all__ = [
    "at_their_places",
    "from_each",
    "idle",
    "lost_partners_told",
    "over_all",
    "own_share",
    "processes",
    "rank",
    "rows_of_all",
    "total",
    "whole_mean",
]


_LOST = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""Parts of torch.distributed's error messages after the peer of a connection ended."""


def processes() -> int:
    """Return the number of processes that train together; 1 without a process group."""
    return distributed.get_world_size() if _is_distributed() else 1


def rank() -> int:
    """Return this process's rank, from 0."""
    return distributed.get_rank() if _is_distributed() else 0


def total(x: Tensor) -> Tensor:
    """Return the sum of ``x`` over all processes, without a gradient; ``x`` itself in a single process."""
    if not _is_distributed():
        return x
    summed = torch.zeros_like(x) if _idle else x.detach().clone()
    distributed.all_reduce(summed)
    return summed


@contextmanager
def idle(yes: bool = True) -> Iterator[None]:
    """Let this process add 0 to totals and means inside the block, and only take part in the communication.

    Needed if the last batch has fewer samples than there are processes.
    """
    global _idle
    _idle, before = yes, _idle
    try:
        yield
    finally:
        _idle = before


@contextmanager
def lost_partners_told() -> Iterator[None]:
    """Replace the connection errors that follow from the end of another process by one that says so.

    Raises:
        NeurozooError: Another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if processes() == 1 or not any(text in str(error) for text in _LOST):
            raise
        raise NeurozooError(
            f"process {rank()}: another process of this training ended; its message, above or below, gives the reason"
        ) from error


def over_all(x: Tensor, *, largest: bool) -> Tensor:
    """Return the largest or smallest ``x`` over all processes, elementwise, without a gradient."""
    if not _is_distributed():
        return x
    extreme = x.detach().clone()
    distributed.all_reduce(extreme, distributed.ReduceOp.MAX if largest else distributed.ReduceOp.MIN)
    return extreme


def from_each(x: Tensor) -> list[Tensor]:
    """Return every process's ``x`` in the order of ranks; its shape must be the same on all."""
    if not _is_distributed():
        return [x]
    gathered = [torch.empty_like(x) for _ in range(processes())]
    distributed.all_gather(gathered, x.contiguous())
    return gathered


def own_share(samples: int) -> slice:
    """Return this process's slice of the samples, maybe empty; the slices of all processes partition them in order."""
    return slice(rank() * samples // processes(), (rank() + 1) * samples // processes())


def whole_mean(mean: Tensor, weight: Tensor | int) -> Tensor:
    """Return the weighted mean of all processes' means.

    The gradient is that of this process's part; the sum over the processes is the whole gradient.

    Args:
        mean: This process's mean, any shape; 0 where the weight is 0.
        weight: Its weight, such as a number of samples (0-d).
    """
    if not _is_distributed():
        return mean
    weight = torch.as_tensor(weight, device=mean.device).to(mean.dtype)
    whole = total(weight).clamp(min=1)
    part = mean * (torch.zeros_like(weight) if _idle else weight / whole)
    return part + (total(part) - part.detach())


def at_their_places(rows: Tensor, places: Tensor) -> Tensor:
    """Return the rows of all processes as one tensor, ``[N, ...]``.

    Args:
        rows: This process's rows, ``[n, ...]``.
        places: Index of each row among the N, ``[n]`` int64.

    Raises:
        NeurozooError: A row was given twice, or not at all.
    """
    count = int(total(torch.tensor(len(rows), device=rows.device)))
    whole = rows.new_zeros((count, *rows.shape[1:]))
    given = torch.zeros(count, dtype=torch.int64, device=rows.device)
    whole[places] = rows
    given.index_add_(0, places, torch.ones_like(places))
    if not bool((total(given) == 1).all()):
        raise NeurozooError(
            "a sample was counted twice, or not at all, by the processes; this is a bug in neurozoo, please report it"
        )
    return total(whole)


def rows_of_all(rows: Tensor) -> Tensor:
    """Concatenate the rows ``[n, ...]`` of all processes in the order of ranks."""
    if processes() == 1:
        return rows
    before = sum(int(count) for count in from_each(torch.tensor(len(rows), device=rows.device))[: rank()])
    return at_their_places(rows, torch.arange(before, before + len(rows), device=rows.device))


_idle = False


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
