"""The compiled loop of a layer behind a convolution: the currents of a row of neurons, then the neurons of that row.

An input that is not 0 adds a row of weights at each place that it reaches, in ascending order of row, column and
channel. Frames are read in the layout in which they come; neurons have the channels of a place next to each other.
Currents stay in the cache: they are written only for who asks for them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from neurozoo_numba.block import APART, LEVEL, OUT, ROWS, STATES, WIDEST
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.kernels import begin, fill, spread
from neurozoo_numba.streaming import LINE, OPTIONS, added_rows, call, copy, loop, read_ahead, row
from numba import types
from numpy.typing import NDArray

from neurozoo.core.layer_run import Numbers
from neurozoo_events.kernel import active

__all__ = ["Frames", "Kernel", "Neurons", "convolution_loop", "memory"]

LISTED = 2**20
"""Bytes for the lists of what is not 0, at most, if more than one step is run at a time."""
CURRENTS = 2**18
"""Bytes of currents, likewise: a part of the cache of a core."""


@loop
def row_of_frame(  # type: ignore[no-untyped-def]
    x, place, frames, apart, ends, sources, numbers, found, values, counts
):
    """List what is not 0 in a row of a frame, in ascending order of column and channel.

    A row whose channels lie apart is read channel by channel, and what is not 0 is sorted by column.

    Args:
        x: Inputs; the row begins at ``place``.
        frames: See :class:`Frames`.
        apart: Weights of an input channel.
        ends: Gets where the list of each column ends, ``[width]``.
        sources: Gets where the weights of the channel of each begin.
        numbers: Gets the numbers.
        found: Memory ``[width * channels + 1]``; ``values`` likewise.
        counts: Memory ``[channels]``.
    """
    by_channel, by_column, channels, width = frames.by_channel, frames.by_column, frames.channels, frames.width
    for column in range(width):
        ends[column] = 0
    # A column by a product, which is faster than a division, and exact below these bounds.
    if by_channel == 1 and by_column == channels and width < 2**23 and width * channels * channels < 2**40:
        count, inverse = active(x, place, width * channels, found, numbers), 2**40 // channels + 1
        for k in range(count):
            column = (found[k] * inverse) >> 40
            sources[k] = (found[k] - column * channels) * apart
            ends[column] += 1
        for column in range(1, width):
            ends[column] += ends[column - 1]
        return
    count = 0
    for channel in range(channels):
        before = count
        if by_column == 1:
            some, these = row(found, before, width), row(values, before, width)
            count += active(x, place + channel * by_channel, width, some, these)
        else:
            for column in range(width):
                v = x[place + column * by_column + channel * by_channel]
                found[count] = column
                values[count] = v
                count += v != 0
        for k in range(before, count):
            ends[found[k]] += 1
        counts[channel] = count
    total = 0
    for column in range(width):  # where each begins; it is moved on with what is written
        here = ends[column]
        ends[column] = total
        total += here
    k = 0
    for channel in range(channels):
        while k < counts[channel]:
            to = ends[found[k]]
            sources[to] = channel * apart
            numbers[to] = values[k]
            ends[found[k]] = to + 1
            k += 1


@loop
def added_column(weights, at, sources, numbers, first, last, length, goal, to):  # type: ignore[no-untyped-def]
    """Add the weights of some inputs, ``length`` for each of them, to as many neighbours from ``goal[to]`` on."""
    done = 0
    while done < length:  # sums stay in registers, so that their number is a constant of each call
        left, start = length - done, at + done
        if left >= 128:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 8)
            done += 128
        elif left >= 96:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 6)
            done += 96
        elif left >= 64:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 4)
            done += 64
        elif left >= 48:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 3)
            done += 48
        elif left >= 32:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 2)
            done += 32
        elif left >= 16:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 16, 1)
            done += 16
        elif left >= 8:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 8, 1)
            done += 8
        elif left >= 4:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 4, 1)
            done += 4
        else:
            added_rows(goal, to + done, weights, sources, start, numbers, first, last, 1, 1)
            done += 1


@loop
def added_row(ends, sources, numbers, ky, weights, width, wide, kernel, current):  # type: ignore[no-untyped-def]
    """Add what a row of inputs gives to a row of currents through row ``ky`` of the kernel.

    With stride and dilation 1 the places that an input reaches are neighbours, as are their weights. The row of
    currents begins and ends with places outside of the frame, so that inputs at the border are like others.
    """
    many, (_, kernel_w), (_, stride), (_, dilation) = kernel.many, kernel.size, kernel.stride, kernel.dilation
    last = 0
    for column in range(width):
        first, last, across = last, ends[column], column + kernel.padding[1]
        if first == last:
            continue
        if stride == 1 and dilation == 1:
            added_column(
                weights, ky * kernel_w * many, sources, numbers, first, last, kernel_w * many, current, across * many
            )
            continue
        for kx in range(kernel_w):
            right = across - kx * dilation
            if right >= 0 and right % stride == 0 and right // stride < wide:
                at, to = (ky + 1) * kernel_w - 1 - kx, right // stride + kernel_w - 1
                added_column(weights, at * many, sources, numbers, first, last, many, current, to * many)


@loop
def whole_row(x):  # type: ignore[no-untyped-def]
    return row(x, 0, x.shape[0])


class Frames(NamedTuple):
    """How inputs lie: step t, sample b, channel c, row and column are at ``t * by_step + b * by_sample + ...``.

    Attributes:
        by_step: Numbers from one step to the next; and the next four.
        steps: T; ``batch``, B, and the next three: of a frame.
        held: Whether all steps have the input of the first.
    """

    by_step: int
    by_sample: int
    by_channel: int
    by_row: int
    by_column: int
    steps: int
    batch: int
    channels: int
    height: int
    width: int
    held: bool


class Kernel(NamedTuple):
    """What is not an array of a convolution.

    Attributes:
        many: Neurons of a place, C'.
        size: ``(KH, KW)``; ``stride``, ``padding`` and ``dilation`` likewise.
    """

    many: int
    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


class Neurons(NamedTuple):
    """Neurons ``[B, H', W', C']``; what is not named here is as of ``neurozoo_numba.kernels.forward``.

    Attributes:
        by_gain: Whether thresholds divide the currents, and neurons fire at 1.
        step: Address of the neurons' step; 0 for currents alone.
    """

    v0: Numbers
    rest: Numbers
    threshold: Numbers
    level_by_step: bool
    inner: int
    period: int
    by_gain: bool
    p: Numbers
    p_inner: int
    p_period: int
    own: bool
    flags: int
    step: int


class Memory(NamedTuple):
    """Memory of :func:`convolution`.

    Attributes:
        some_steps: Steps that are run at a time.
        apart: Numbers from one step's currents of a row to the next.
        ends: As of :func:`row_of_frame`, and the next five; the first three for each step and row of inputs.
        currents: Of a row of neurons, step by step, with places outside of the frame.
        mine: Of a block of neurons; and
        divided: its currents, divided.
    """

    some_steps: int
    apart: int
    ends: NDArray[np.int32]
    sources: NDArray[np.int32]
    numbers: Numbers
    found: NDArray[np.int64]
    values: Numbers
    counts: NDArray[np.int64]
    currents: Numbers
    mine: Numbers
    divided: Numbers


def memory(frames: Frames, wide: int, kernel: Kernel) -> Memory:
    """Return memory for frames, of which a row reaches ``wide`` places."""
    (kernel_h, kernel_w), steps, held = kernel.size, frames.steps, frames.held
    rows, room = (kernel_h - 1) * kernel.dilation[0] + 1, frames.width * frames.channels + 1
    apart = (kernel_w - 1 + max(wide, frames.width + kernel.padding[1])) * kernel.many
    apart = -(-apart // LINE) * LINE
    some = steps if held else max(1, min(steps, LISTED // (8 * rows * room), CURRENTS // (4 * apart)))
    rows *= 1 if held else some
    return Memory(
        some, apart, np.empty(rows * frames.width, np.int32), np.empty(rows * room, np.int32),
        np.empty(rows * room, np.float32), np.empty(room, np.int64), np.empty(room, np.float32),
        # Tensors begin where a line of the cache does.
        np.empty(frames.channels, np.int64), torch.empty((1 if held else some) * apart).numpy(),
        torch.empty(ROWS).numpy(), torch.empty(WIDEST).numpy(),
    )  # fmt: skip


def convolution(  # type: ignore[no-untyped-def]
    x, frames, weights, gain, shift, size, kernel, neurons, out, v_out, driven, memory
):
    """Rows of neurons, one after the other: some steps of a row before the next row.

    Args:
        x: Inputs as :class:`Frames` says.
        frames: How they lie.
        weights: ``[C * KH * KW * C']``, the columns of the kernel reversed.
        gain: ``[C']``; ``shift`` likewise.
        size: ``(H', W')``.
        kernel: See :class:`Kernel`.
        neurons: See :class:`Neurons`.
        out: Gets the outputs ``[T * B * H' * W' * C']``; empty for currents alone, as is ``v_out``.
        v_out: Gets the states after the last step.
        driven: Gets the currents likewise; empty if they are not asked for.
        memory: See :class:`Memory`.
    """
    # Rows of arguments, as references to arrays that are counted would be counted at each event.
    x, weights, gain, shift = whole_row(x), whole_row(weights), whole_row(gain), whole_row(shift)
    out, v_out, driven = whole_row(out), whole_row(v_out), whole_row(driven)
    v0, rest, threshold, p = (
        whole_row(neurons.v0), whole_row(neurons.rest), whole_row(neurons.threshold), whole_row(neurons.p)
    )  # fmt: skip
    ends, sources, numbers = whole_row(memory.ends), whole_row(memory.sources), whole_row(memory.numbers)
    found, values, counts = whole_row(memory.found), whole_row(memory.values), whole_row(memory.counts)
    currents, mine, divided = whole_row(memory.currents), whole_row(memory.mine), whole_row(memory.divided)
    some_steps, apart, steps, held = memory.some_steps, memory.apart, frames.steps, frames.held
    height, width, channels = frames.height, frames.width, frames.channels
    (high, wide), (kernel_h, kernel_w), many = size, kernel.size, kernel.many
    level_by_step, by_gain, inner, period = neurons.level_by_step, neurons.by_gain, neurons.inner, neurons.period
    p_inner, p_period, own, step = neurons.p_inner, neurons.p_period, neurons.own, neurons.step
    one, across, before = x.dtype.type(1), wide * many, (kernel_w - 1) * many
    whole, blocks = frames.batch * high * across, (across + WIDEST - 1) // WIDEST if step else 0
    room, ring = width * channels + 1, (kernel_h - 1) * kernel.dilation[0] + 1
    plain = True
    for i in range(many):
        plain = plain and gain[i] == 1 and shift[i] == 0
    for b in range(frames.batch):
        for begun in range(0, steps, some_steps):
            ready, until = 0, min(begun + some_steps, steps)
            for y in range(high):
                top = y * kernel.stride[0] - kernel.padding[0]
                bottom = min(top + ring, height)
                start = (b * high + y) * across
                for which in range(1 if held else until - begun):
                    at = (begun + which) * frames.by_step + b * frames.by_sample
                    for r in range(max(ready, top), bottom):
                        here = which * ring + r % ring
                        row_of_frame(
                            x, at + r * frames.by_row, frames, kernel_h * kernel_w * many,
                            row(ends, here * width, width), row(sources, here * room, room),
                            row(numbers, here * room, room), found, values, counts,
                        )  # fmt: skip
                    current = row(currents, which * apart, apart)
                    fill(current, 0)
                    for ky in range(kernel_h):
                        r = top + ky * kernel.dilation[0]
                        if 0 <= r < height:
                            here = which * ring + r % ring
                            added_row(
                                row(ends, here * width, width), row(sources, here * room, room),
                                row(numbers, here * room, room), ky, weights, width, wide, kernel, current,
                            )  # fmt: skip
                    if not plain:
                        for place in range(wide):
                            these = row(current, before + place * many, many)
                            for i in range(many):
                                these[i] = these[i] * gain[i] + shift[i]
                if driven.shape[0]:
                    for t in range(begun, until):
                        current = row(currents, (0 if held else (t - begun) * apart) + before, across)
                        copy(current, row(driven, t * whole + start, across))
                for block in range(blocks):
                    count, first = min(WIDEST, across - block * WIDEST), start + block * WIDEST
                    level = row(mine, LEVEL, count)
                    if begun:
                        begin(v_out, rest, whole, p, p_inner, p_period, own, first, count, mine)
                    else:
                        begin(v0, rest, whole, p, p_inner, p_period, own, first, count, mine)
                    for t in range(begun, until):
                        read_ahead(out, t * whole + first + WIDEST, WIDEST)
                        there = (0 if held else (t - begun) * apart) + before + block * WIDEST
                        if level_by_step or by_gain or t == begun:
                            spread(threshold, t * period if level_by_step else 0, inner, period, first, level)
                        if by_gain:
                            given = row(currents, there, count)
                            for i in range(count):
                                divided[i] = given[i] / level[i]
                            fill(level, one)
                            call(step, mine, divided, 0, count, neurons.flags)
                        else:
                            call(step, mine, currents, there, count, neurons.flags)
                        copy(row(mine, OUT, count), row(out, t * whole + first, count))
                    for k in range(rest.shape[0]):
                        copy(row(mine, STATES + k * APART, count), row(v_out, k * whole + first, count))
                ready = bottom


@cache
def convolution_loop() -> Any:
    """Return :func:`convolution`, compiled at the first call, or loaded from numba's cache."""
    whole, truth, pair = types.int64, types.boolean, types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
    given, made = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))
    small, large = (types.Array(each, 1, "C") for each in (types.int32, types.int64))
    by_class = {
        Frames: [*[whole] * 10, truth],
        Kernel: [whole, *[pair] * 4],
        Neurons: [given, given, given, truth, whole, whole, truth, given, whole, whole, truth, whole, whole],
        Memory: [whole, whole, small, small, made, large, made, large, made, made, made],
    }
    make: Any = types.NamedTuple
    frames, kernel, neurons, memory = (make(fields, each) for each, fields in by_class.items())
    signature = (given, frames, given, given, given, pair, kernel, neurons, made, made, made, memory)
    return for_arguments(kept_on_disk(convolution, OPTIONS), signature).get_overload(signature)
