"""Tensors as flat memory for kernels, copied only where the layout requires it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurozoo.core.neuron import NeuronSpec

__all__ = ["Call", "Rows", "Spread", "each", "flat"]


class Rows(NamedTuple):
    """T steps of M numbers in flat memory; step t starts at ``t * step``."""

    memory: Tensor
    step: int


class Spread:
    """Numbers that neurons share, such as thresholds or parameters, without repetitions.

    Attributes:
        numbers: ``[rows * period]``: neuron m has number ``m // inner % period`` of a row.
        rows: Number of rows.
        inner: See above.
        period: See above; 1 where all neurons share one.

    Args:
        values: ``[rows, ...]``, with as many axes as the currents, each but the first of their size or 1; or 0-d.
        shape: Of the currents.
    """

    def __init__(self, values: Tensor, shape: torch.Size) -> None:
        self.rows = values.shape[0] if values.dim() else 1
        compact, self.inner, self.period = _periodic(values, shape)
        self.numbers = flat(compact)
        self._form, self._batch = values.shape, shape[1:]

    def places(self, blocks: int) -> int:
        """Size of the gradient that a kernel with ``blocks`` blocks of neurons writes.

        Each row has one number per block if all neurons share a number, else one per neuron.
        """
        return self.rows * (blocks if self.period == 1 else math.prod(self._batch))

    def gradient(self, written: Tensor, blocks: int) -> Tensor:
        """Sum these numbers to the shape of ``values``."""
        if self.period == 1:
            return written.view(-1, blocks).sum(1).reshape(self._form)
        return written.view(-1, *self._batch).sum_to_size(self._form)


class Call:
    """Currents, states, threshold and parameters of one call, in the layout of the kernels.

    Attributes:
        steps: T.
        size: M, the neurons: all axes of the currents but T.
        currents: Step by step; ``step`` is 0 where all steps have the same.
        state: S states to start from, ``[S * M]``, or None.
        threshold: With T rows, or 1.
        params: With P rows, or None where :attr:`numbers` has them.

    Args:
        currents: ``[T, B, ...]``.
        state: ``[S, B, ...]`` or None.
        threshold: 0-d, or with as many axes as the currents, each of their size or 1.
        params: ``[P, *shape]`` that broadcasts against one sample's neurons, or None.
        numbers: P parameters and S states at rest.
        spec: The neurons' specification.
    """

    def __init__(
        self,
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        numbers: Sequence[float],
        spec: NeuronSpec,
    ) -> None:
        self.spec = spec
        self.steps = currents.shape[0]
        self.size = math.prod(currents.shape[1:])
        self.currents = _rows(currents)
        self.state = None if state is None else flat(state)
        self.threshold = Spread(threshold, currents.shape)
        self.numbers = numbers
        self.params = None
        if params is not None:
            missing = currents.dim() - params.dim()
            whole = params.reshape(len(params), *[1] * missing, *params.shape[1:])
            self.params = Spread(whole, currents.shape)

    @property
    def by_step(self) -> bool:
        """Whether thresholds differ between steps."""
        return self.threshold.rows > 1


def flat(x: Tensor) -> Tensor:
    """Return a tensor as contiguous 1-d memory, copied only if it is not contiguous."""
    return x.detach().contiguous().view(-1)


def each(grad: Tensor) -> tuple[Rows, bool]:
    """Return a gradient ``[T, B, ...]`` step by step, and whether it differs between neurons (not for a plain sum)."""
    if grad.numel() and not any(
        stride for size, stride in zip(grad.shape[1:], grad.stride()[1:], strict=True) if size > 1
    ):
        return Rows(flat(grad.flatten(1)[:, 0]), 1), False
    return _rows(grad), True


def _rows(x: Tensor) -> Rows:
    """Return ``[T, B, ...]`` without a copy if each step is contiguous, and one step if all are the same memory."""
    x = x.detach()
    if x.shape[0] > 1 and x.stride(0) == 0:
        return Rows(flat(x[0]), 0)
    size = math.prod(x.shape[1:])
    if x.is_contiguous() or size == 0 or not x[0].is_contiguous():
        return Rows(flat(x), size)
    step = x.stride(0)
    return Rows(x.as_strided(((x.shape[0] - 1) * step + size,), (1,)), step)


def _periodic(values: Tensor, shape: torch.Size) -> tuple[Tensor, int, int]:
    """Return the values without repetitions, ``inner`` and ``period``, see :class:`Spread`."""
    sizes = values.shape[1:]
    if sizes == shape[1:]:
        return values, 1, math.prod(sizes)
    own = [axis for axis, size in enumerate(sizes) if size > 1]
    if not own:
        return values, max(1, math.prod(shape[1:])), 1
    first, last = own[0], own[-1]
    # Axes of size 1 between the first and the last axis that vary are expanded.
    middle = [full if first <= axis <= last else 1 for axis, full in enumerate(shape[1:])]
    written = values.expand(-1, *middle)
    return written.flatten(1), math.prod(shape[last + 2 :]), math.prod(middle)
