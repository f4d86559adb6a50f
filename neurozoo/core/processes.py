"""What the processes of a data-parallel training share; where there is one alone, nothing changes."""

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
    "total",
    "whole_mean",
]


_LOST = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""Of an error of torch.distributed, what tells that the other end of a connection is gone."""


def processes() -> int:
    """How many processes train together; 1 where nothing was set up."""
    return distributed.get_world_size() if _together() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if _together() else 0


def total(x: Tensor) -> Tensor:
    """Sum of ``x`` over all processes, without a gradient; ``x`` itself where there is one."""
    if not _together():
        return x
    summed = torch.zeros_like(x) if _idle else x.detach().clone()
    distributed.all_reduce(summed)
    return summed


@contextmanager
def idle(yes: bool = True) -> Iterator[None]:
    """Inside, this process only keeps step with the others: what it adds to a total or a mean is 0.

    There may be more processes than samples in the last batch.
    """
    global _idle
    _idle, before = yes, _idle
    try:
        yield
    finally:
        _idle = before


@contextmanager
def lost_partners_told() -> Iterator[None]:
    """What a process says when another one ended is that, and not what its connection was at.

    Raises:
        NeurozooError: Another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if processes() == 1 or not any(word in str(error) for word in _LOST):
            raise
        raise NeurozooError(
            f"process {rank()}: another process of this training ended; its own message, above or below, says why"
        ) from error


def over_all(x: Tensor, *, largest: bool) -> Tensor:
    """The largest or smallest ``x`` of all processes, element by element, without a gradient."""
    if not _together():
        return x
    found = x.detach().clone()
    distributed.all_reduce(found, distributed.ReduceOp.MAX if largest else distributed.ReduceOp.MIN)
    return found


def from_each(x: Tensor) -> list[Tensor]:
    """``x`` of each process in their order; its shape is the same on all."""
    if not _together():
        return [x]
    found = [torch.empty_like(x) for _ in range(processes())]
    distributed.all_gather(found, x.contiguous())
    return found


def own_share(samples: int) -> slice:
    """Which of so many samples are this process's, if any; together the processes have each once, in order."""
    return slice(rank() * samples // processes(), (rank() + 1) * samples // processes())


def whole_mean(mean: Tensor, weight: Tensor | int) -> Tensor:
    """The mean over what all processes have, of this one's own mean and its weight.

    Its gradient is that of this process's part: summed over the processes it is the whole one.

    Args:
        mean: Of any shape, 0 where the weight is 0.
        weight: What it was taken over, such as a number of samples (0-d).
    """
    if not _together():
        return mean
    weight = torch.as_tensor(weight, device=mean.device).to(mean.dtype)
    whole = total(weight).clamp(min=1)
    part = mean * (torch.zeros_like(weight) if _idle else weight / whole)
    return part + (total(part) - part.detach())


def at_their_places(rows: Tensor, places: Tensor) -> Tensor:
    """The rows of all processes as one tensor, ``[N, ...]``.

    Args:
        rows: This process's, ``[n, ...]``.
        places: Which of the N each is, ``[n]`` int64.

    Raises:
        NeurozooError: A row was given twice, or by nobody.
    """
    count = int(total(torch.tensor(len(rows), device=rows.device)))
    whole = rows.new_zeros((count, *rows.shape[1:]))
    given = torch.zeros(count, dtype=torch.int64, device=rows.device)
    whole[places] = rows
    given.index_add_(0, places, torch.ones_like(places))
    if not bool((total(given) == 1).all()):
        raise NeurozooError("a sample was counted twice, or not at all, by the processes; this is a fault of neurozoo")
    return total(whole)


_idle = False


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
