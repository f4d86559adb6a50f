"""The compiled loop of a convolution: an input that is not 0 adds a row of weights at each place that it reaches.

Frames are read in the layout in which they come, and currents are written with the channels of a place next to each
other, whatever the layout of the input. Inputs are in ascending order of row, column and channel.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.streaming import OPTIONS, loop, row
from numba import types

from neurozoo_events.kernel import active

__all__ = ["convolution_loop"]


@loop
def row_of_frame(  # type: ignore[no-untyped-def]
    x, place, by_channel, by_column, channels, width, places, numbers, found, values, starts,
):  # fmt: skip
    """Write the places ``column * channels + channel`` of what is not 0 in a row of a frame, in ascending order.

    A row whose channels lie apart is read channel by channel, and what is not 0 is sorted by column.

    Args:
        found: Memory as large as ``places``; ``values`` likewise as ``numbers``.
        starts: Memory ``[width + 1]``.
    """
    if by_channel == 1 and by_column == channels:
        return active(x, place, width * channels, places, numbers)
    for column in range(width + 1):
        starts[column] = 0
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
            starts[found[k] + 1] += 1
            found[k] = found[k] * channels + channel
    for column in range(width):
        starts[column + 1] += starts[column]
    for k in range(count):
        column = found[k] // channels
        places[starts[column]] = found[k]
        numbers[starts[column]] = values[k]
        starts[column] += 1
    return count


@loop
def scaled(frame, first, last, wide, gain, shift):  # type: ignore[no-untyped-def]
    """Apply gain and shift of the channels to rows of a frame."""
    many = gain.shape[0]
    for place in range(max(first, 0) * wide, last * wide):
        goal = row(frame, place * many, many)
        for i in range(many):
            goal[i] = goal[i] * gain[i] + shift[i]


def convolution(  # type: ignore[no-untyped-def]
    x, by_frame, by_channel, by_row, by_column, frames, channels, height, width, weights, gain, shift,
    size, kernel, stride, padding, dilation, out,
):  # fmt: skip
    """The currents of frames.

    With stride and dilation 1 the places in a row of the frame are neighbours, as are their weights, so that a row of
    the kernel is one sum. A row of the frame is scaled while it is in the cache.

    Args:
        x: Inputs; frame f, channel c, row and column are at ``f * by_frame + c * by_channel + row * by_row + ...``.
        frames: Number of frames; ``channels``, ``height``, ``width``: of one.
        weights: ``[C * KH * KW * C']``, the columns of the kernel reversed; ``gain`` and ``shift``, ``[C']``.
        size: ``(H', W')``; ``kernel`` ``(KH, KW)``, ``stride``, ``padding`` and ``dilation`` likewise.
        out: Gets the currents ``[F * H' * W' * C']``.
    """
    (high, wide), (kernel_h, kernel_w), many = size, kernel, gain.shape[0]
    room = width * channels + 1
    places, numbers = np.empty(room, np.int64), np.empty(room, x.dtype)
    found, values, starts = np.empty(room, np.int64), np.empty(room, x.dtype), np.empty(width + 1, np.int64)
    plain = stride[0] == 1 and stride[1] == 1 and dilation[0] == 1 and dilation[1] == 1
    for f in range(frames):
        frame = row(out, f * high * wide * many, high * wide * many)
        for i in range(high * wide * many):
            frame[i] = 0
        done = 0
        for y in range(height):
            start = f * by_frame + y * by_row
            count = row_of_frame(
                x, start, by_channel, by_column, channels, width, places, numbers, found, values, starts
            )
            for k in range(count):
                v, across, c = numbers[k], places[k] // channels, places[k] % channels
                for ky in range(kernel_h):
                    down = y + padding[0] - ky * dilation[0]
                    if down < 0 or down % stride[0] or down // stride[0] >= high:
                        continue
                    line, some = down // stride[0] * wide, (c * kernel_h + ky) * kernel_w
                    if plain:
                        left = across + padding[1] - kernel_w + 1
                        first, last = max(left, 0), min(left + kernel_w, wide)
                        if first < last:
                            length = (last - first) * many
                            goal = row(frame, (line + first) * many, length)
                            given = row(weights, (some + first - left) * many, length)
                            for i in range(length):
                                goal[i] = goal[i] + v * given[i]
                        continue
                    for kx in range(kernel_w):
                        right = across + padding[1] - kx * dilation[1]
                        if right < 0 or right % stride[1] or right // stride[1] >= wide:
                            continue
                        goal = row(frame, (line + right // stride[1]) * many, many)
                        given = row(weights, (some + kernel_w - 1 - kx) * many, many)
                        for i in range(many):
                            goal[i] = goal[i] + v * given[i]
            complete = y + padding[0] - kernel_h + 2 if plain else 0  # the next row of inputs reaches none before
            complete = min(complete, high)
            if complete > done:
                scaled(frame, done, complete, wide, gain, shift)
                done = complete
        scaled(frame, done, high, wide, gain, shift)


@cache
def convolution_loop() -> Any:
    """Return :func:`convolution`, compiled at the first call, or loaded from numba's cache."""
    whole, pair = types.int64, types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
    given, made = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))
    signature = (given, *[whole] * 8, given, given, given, *[pair] * 5, made)
    return for_arguments(kept_on_disk(convolution, OPTIONS), signature).get_overload(signature)
