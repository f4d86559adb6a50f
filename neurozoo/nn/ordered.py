"""The oracle fed by sums in a stated order, with which an engine's spikes can be compared to the bit.

torch adds the products of a matrix and a vector in an order of its own, which depends on processor and shapes. Here the
order is stated: the inputs in ascending order, one after the other, from 0, those of a convolution by row, column and
channel, those of delays by step and input; then gain and shift; the neurons that fired in the step before likewise,
from 0; then the sum of both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurozoo.core.layer import SpikingLayer, TorchNeuron, by_sample
from neurozoo.core.layer_run import Ran
from neurozoo.core.neuron import State, steps_of
from neurozoo.nn.affine import Convolution, Delays, affine_of, convolution_of, delays_of

__all__ = ["ordered_convolution", "ordered_delays", "ordered_run", "ordered_sum"]


def ordered_sum(x: Tensor, weight: Tensor) -> Tensor:
    """Return ``x W^T`` with the inputs in ascending order.

    Args:
        x: ``[..., D]``.
        weight: ``[N, D]``.
    """
    total = x.new_zeros(*x.shape[:-1], len(weight))
    if not x.numel():
        return total
    for place in (x.flatten(0, -2) != 0).any(0).nonzero().flatten().tolist():
        total = total + x[..., place, None] * weight[:, place]
    return total


def ordered_convolution(x: Tensor, made: Convolution) -> Tensor:
    """Return the convolution ``[R, C', H', W']`` of ``[R, C, H, W]``, without gain and shift, in the stated order."""
    (high, wide), (down, right) = made.padding, made.stride
    height, width = made.shape(*x.shape[2:])
    framed = nn.functional.pad(x, (wide, wide, high, high))
    total = x.new_zeros(len(x), len(made.weight), height, width)
    for row in range(made.weight.shape[2]):
        for column in range(made.weight.shape[3]):
            above, left = row * made.dilation[0], column * made.dilation[1]
            seen = framed[:, :, above : above + (height - 1) * down + 1 : down]
            seen = seen[..., left : left + (width - 1) * right + 1 : right]
            for channel in range(x.shape[1]):
                total = total + seen[:, channel, None] * made.weight[:, channel, row, column, None, None]
    return total


def ordered_delays(x: Tensor, made: Delays) -> Tensor:
    """Return the currents ``[T', B, N]`` of inputs ``[T, B, D]``, earlier inputs first."""
    neurons, inputs, taps = made.kernels.shape
    steps = len(x) + made.late
    framed = nn.functional.pad(x, (0, 0, 0, 0, taps - 1, made.late))
    total = x.new_zeros(steps, x.shape[1], neurons)
    there = (x != 0).flatten(0, 1).any(0)
    for tap in range(taps):
        for place in range(inputs):
            weights = made.kernels[:, place, tap]
            if bool(there[place]) and bool(weights.any()):
                total = total + framed[tap : tap + steps, :, place, None] * weights
    return total * made.gain + made.shift


def ordered_currents(layer: SpikingLayer, x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return a layer's currents without the recurrent ones in the stated order; see :func:`ordered_run`."""
    if (affine := affine_of(layer.synapse)) is not None:
        return ordered_sum(x, affine.weight) * affine.gain + affine.shift
    if (made := convolution_of(layer.synapse)) is not None:
        rows = ordered_convolution(x.flatten(0, 1), made)
        rows = rows * made.gain[:, None, None] + made.shift[:, None, None]
        rows = rows if made.pool is None else made.pool(rows)
        return rows.view(*x.shape[:2], *rows.shape[1:])
    if (delays := delays_of(layer.synapse)) is not None:
        return ordered_delays(x if valid is None else x.masked_fill(~valid[..., None], 0.0), delays)
    return layer.currents(x, valid)


@torch.no_grad()
def ordered_run(
    layer: SpikingLayer,
    x: Tensor,
    state: State | None = None,
    threshold: Tensor | float = 1.0,
    *,
    valid: Tensor | None = None,
) -> Ran:
    """Run a layer on the oracle, see :mod:`neurozoo.nn.ordered`; a synapse that is neither runs as it is.

    Args:
        layer: In evaluation mode.
        x: Inputs ``[T, B, ...]``.
        state: As of :meth:`neurozoo.core.layer.SpikingLayer.run`.
        threshold: As there.
        valid: As of its ``forward``, for a synapse over time.

    Returns:
        Outputs, state, and the whole currents.
    """
    currents = ordered_currents(layer, x, valid)
    neuron, params = TorchNeuron(layer.spec), layer.params() or None
    back = None if layer.recurrent is None else layer.returning()
    carried = state if back is None or state is None else state[:-1]
    fired = None
    if back is not None:
        fired = torch.zeros_like(currents[0]) if state is None else state[-1]
    outputs, wholes = [], []
    levels = steps_of(by_sample(threshold, currents), currents)
    for current, each in zip(currents.unbind(0), levels, strict=True):
        level = each[None] if isinstance(each, Tensor) and each.dim() else each
        whole = current if back is None or fired is None else current + ordered_sum(fired, back)
        one = whole[None]
        made, carried = neuron.scan(one / level if layer.gain else one, carried, 1.0 if layer.gain else level, params)
        fired = made[0]
        outputs.append(fired)
        wholes.append(whole)
    after = tuple(carried or ())
    return Ran(torch.stack(outputs), (*after, outputs[-1]) if back is not None else after, torch.stack(wholes))
