"""Steps in segments whose insides are computed again in the backward, so that memory hardly grows with T.

Backpropagation keeps what the operations of all T steps need, several numbers a neuron and step. In segments, only the
state between two of them is kept (Chen et al. 2016, "Training deep nets with sublinear memory cost"); the backward runs
each segment forward once more. Gradients are exact, unlike those of e-prop (:mod:`neurozoo.nn.eprop`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neurozoo.errors import SpikingError

__all__ = ["in_segments"]

_State = TypeVar("_State")


def in_segments(
    run: Callable[[Tensor, _State], tuple[Tensor, _State]], x: Tensor, state: _State, length: int | None = None
) -> tuple[Tensor, _State]:
    """Run all steps of something with state, segment after segment.

    For the backward it keeps ``x``, the outputs, the states between segments, and while it runs one segment's insides.
    So ``run`` should hold as many layers as possible, up to the readout, whose outputs are small.

    Args:
        run: Takes some steps ``[t, B, ...]`` and the state before them, and returns their outputs ``[t, B, ...]`` and
            the state after them: nested tuples of tensors and None. A segment runs twice, so it must not change
            buffers, as a batch norm does; random numbers are the same both times.
        x: ``[T, B, ...]``.
        state: Before the first step, such as None at rest.
        length: Steps of a segment; by default the square root of T, which takes the least memory where a step's state
            is as large as its insides.

    Returns:
        The outputs ``[T, B, ...]`` and the state after the last step; values as of ``run(x, state)``.

    Raises:
        SpikingError: There are no steps, or ``length`` is below 1.

    Example:
        >>> layer = neurozoo.LIF(nn.Linear(40, 128))
        >>> spikes, _ = in_segments(lambda x, state: layer.run(layer.currents(x), state), torch.rand(1000, 8, 40), None)
    """
    if not len(x):
        raise SpikingError("a recurrence over no steps has no outputs; give x [T, B, ...] with T of 1 or more")
    length = math.isqrt(len(x)) if length is None else length
    if length < 1:
        raise SpikingError(f"a segment of {length} steps is none; give 1 or more")
    if length >= len(x) or not torch.is_grad_enabled():
        return run(x, state)
    outputs = []
    for part in torch.split(x, length):
        # Not determined by the state alone: a state of None has no graph, and weights are seen by the function.
        made: Any = checkpoint(run, part, state, use_reentrant=False)
        output, state = made
        outputs.append(output)
    return torch.cat(outputs), state
