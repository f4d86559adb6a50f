"""Tensors as a kernel sees them: numbers in a row, with as little copied as the layout allows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Call", "Rows", "each", "flat"]


class Rows(NamedTuple):
    """What has T steps of M numbers, as memory: those of step t from ``t * step`` on."""

    memory: Tensor
    step: int


class Call:
    """Currents, state and threshold of one call, and how a kernel finds its way in them.

    Attributes:
        steps: T.
        size: M, the neurons: all axes of the currents but T.
        shape: Of the currents.
        currents: Step by step; ``step`` is 0 where all steps have the same.
        state: Membranes to start from, ``[M]``, or None.
        threshold: Without what only repeats, ``[period]`` or ``[T * period]``: neuron m has number
            ``m // inner % period`` of its step's.
        by_step: Whether each step has thresholds of its own.
        inner: See ``threshold``.
        period: See ``threshold``; 1 where all neurons of a step share one.

    Args:
        currents: ``[T, B, ...]``.
        state: ``[B, ...]`` or None.
        threshold: 0-d, or with as many axes as the currents, each of their size or 1.
    """

    def __init__(self, currents: Tensor, state: Tensor | None, threshold: Tensor) -> None:
        self.shape = currents.shape
        self.steps = currents.shape[0]
        self.size = math.prod(currents.shape[1:])
        self.currents = _rows(currents)
        self.state = None if state is None else flat(state)
        self.by_step = threshold.dim() > 0 and threshold.shape[0] > 1
        compact, self.inner, self.period = _periodic(threshold, currents.shape)
        self.threshold = flat(compact)
        self._form = threshold.shape

    def threshold_places(self, blocks: int) -> int:
        """How many numbers a kernel that runs ``blocks`` blocks of neurons writes of the threshold's gradient.

        A step's are one a block where all neurons share a threshold, else one a neuron; where the
        threshold is the same at all steps, so is the step.
        """
        return (self.steps if self.by_step else 1) * (blocks if self.period == 1 else self.size)

    def threshold_gradient(self, written: Tensor, blocks: int) -> Tensor:
        """Those numbers added up to the threshold's shape."""
        if self.period == 1:
            return written.view(-1, blocks).sum(1).reshape(self._form)
        return written.view(-1, *self.shape[1:]).sum_to_size(self._form)


def flat(x: Tensor) -> Tensor:
    """A tensor's numbers in a row, copied only where they are not in a row."""
    return x.detach().contiguous().view(-1)


def each(grad: Tensor) -> tuple[Rows, bool]:
    """A gradient ``[T, B, ...]`` step by step, and whether each neuron has its own; a plain sum has one a step."""
    if grad.numel() and not any(
        stride for size, stride in zip(grad.shape[1:], grad.stride()[1:], strict=True) if size > 1
    ):
        return Rows(flat(grad.flatten(1)[:, 0]), 1), False
    return _rows(grad), True


def _rows(x: Tensor) -> Rows:
    """``[T, B, ...]`` without a copy where each step's numbers lie in a row, and of one step where all are the same."""
    x = x.detach()
    if x.shape[0] > 1 and x.stride(0) == 0:
        return Rows(flat(x[0]), 0)
    size = math.prod(x.shape[1:])
    if x.is_contiguous() or size == 0 or not x[0].is_contiguous():
        return Rows(flat(x), size)
    step = x.stride(0)
    return Rows(x.as_strided(((x.shape[0] - 1) * step + size,), (1,)), step)


def _periodic(threshold: Tensor, shape: torch.Size) -> tuple[Tensor, int, int]:
    """A threshold without what only repeats: neuron m of a step has number ``m // inner % period`` of its row.

    Returns:
        The threshold, with T or 1 times ``period`` numbers; inner; period.
    """
    sizes = threshold.shape[1:]
    own = [axis for axis, size in enumerate(sizes) if size > 1]
    if not own:
        return threshold, max(1, math.prod(shape[1:])), 1
    first, last = own[0], own[-1]
    # What repeats between axes of its own is written out.
    middle = [full if first <= axis <= last else 1 for axis, full in enumerate(shape[1:])]
    written = threshold.expand(-1, *middle)
    return written.flatten(1), math.prod(shape[last + 2 :]), math.prod(middle)
