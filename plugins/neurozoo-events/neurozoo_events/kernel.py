"""The compiled loops: rows of weights are added for inputs that are not 0, then the neurons make a step.

Weights lie by input, so that an input is one row of neighbouring numbers. The neurons' step is that of
``neurozoo_numba``, called by address on blocks of neurons whose states stay in one array over all steps of a sample.
Sums run in the order of ``neurozoo.nn.ordered``; no operation is reordered or fused.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from neurozoo_numba.block import APART, LEVEL, OUT, ROWS, STATES, WIDEST
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from neurozoo_numba.kernels import load_params
from neurozoo_numba.streaming import OPTIONS, WORD, call, copy, loop, lowest_bit, not_zero, row
from numba import types

__all__ = ["convolution_loop", "delay_loop", "delay_step", "layer_loop"]

NONE, ONE = np.uint64(0), np.uint64(1)


@loop
def active(x, place, size, places, numbers):  # type: ignore[no-untyped-def]
    """Write the places of the numbers that are not 0, and these numbers; return how many."""
    given, count, whole = row(x, place, size), 0, size // WORD * WORD
    for start in range(0, whole, WORD):
        bits = not_zero(given, start)
        while bits != NONE:
            i = start + lowest_bit(bits)
            places[count] = i
            numbers[count] = given[i]
            count += 1
            bits &= bits - ONE
    for i in range(whole, size):
        places[count] = i
        numbers[count] = given[i]
        count += given[i] != 0
    return count


@loop
def added(weights, size, places, numbers, count, out):  # type: ignore[no-untyped-def]
    """``out = sum of numbers[k] * weights[places[k]]`` in ascending k, from 0; four rows in one pass over ``out``."""
    one = out.dtype.type(1)
    for i in range(size):
        out[i] = 0
    first = 0
    while first + 4 <= count:
        p, q, r, s = numbers[first], numbers[first + 1], numbers[first + 2], numbers[first + 3]
        a, b = row(weights, places[first] * size, size), row(weights, places[first + 1] * size, size)
        c, d = row(weights, places[first + 2] * size, size), row(weights, places[first + 3] * size, size)
        if p == one and q == one and r == one and s == one:
            for i in range(size):
                out[i] = (((out[i] + a[i]) + b[i]) + c[i]) + d[i]
        else:
            for i in range(size):
                out[i] = (((out[i] + p * a[i]) + q * b[i]) + r * c[i]) + s * d[i]
        first += 4
    for k in range(first, count):
        p, a = numbers[k], row(weights, places[k] * size, size)
        for i in range(size):
            out[i] = out[i] + p * a[i]


def layer(  # type: ignore[no-untyped-def]
    x, by_step, by_sample, steps, batch, inputs, neurons, weights, gain, shift, back, returns,
    level, level_step, level_sample, by_gain, p, many, p_inner, p_period, own, count_states, states, fired,
    flags, step, out, driven,
):  # fmt: skip
    """All steps of a layer, sample after sample.

    Args:
        x: Inputs; those of step t and sample b begin at ``t * by_step + b * by_sample``. Currents if ``inputs`` is 0.
        steps: T; ``batch``: B; ``inputs``: D, ``neurons``: N.
        weights: ``[D * N]`` by input; ``gain`` and ``shift`` of the neurons, ``[N]``.
        back: Recurrent weights ``[N * N]`` by the neuron that fires, if ``returns``.
        level: Thresholds ``[N]`` at ``t * level_step + b * level_sample``; if ``by_gain`` they divide the currents, and
            neurons fire at 1.
        p: Parameters, and the next four, as of ``neurozoo_numba.kernels``.
        states: ``[S * B * N]``, replaced by those after the last step.
        fired: Outputs of the step before, ``[B * N]``, replaced likewise; used if ``returns``.
        flags: Of the step at address ``step``.
        out: Gets the outputs ``[T * B * N]``.
        driven: Gets the whole currents likewise; empty if they are not asked for.
    """
    blocks = (neurons + WIDEST - 1) // WIDEST
    mine = np.empty(blocks * ROWS, x.dtype)
    current, total = np.empty(neurons, x.dtype), np.empty(neurons, x.dtype)
    places, numbers = np.empty(inputs + 1, np.int64), np.empty(inputs + 1, x.dtype)
    where, what = np.empty(neurons + 1, np.int64), np.empty(neurons + 1, x.dtype)
    one = x.dtype.type(1)
    for b in range(batch):
        for block in range(blocks):
            start = block * WIDEST
            count, some = min(WIDEST, neurons - start), row(mine, block * ROWS, ROWS)
            load_params(p, many, p_inner, p_period, own, start, count, some)
            for k in range(count_states):
                copy(row(states, (k * batch + b) * neurons + start, count), row(some, STATES + k * APART, count))
            if by_gain:
                for i in range(count):
                    some[LEVEL + i] = one
        firing = active(fired, b * neurons, neurons, where, what) if returns else 0
        for t in range(steps):
            place = t * by_step + b * by_sample
            if inputs:
                arriving = active(x, place, inputs, places, numbers)
                added(weights, neurons, places, numbers, arriving, total)
                for i in range(neurons):
                    current[i] = total[i] * gain[i] + shift[i]
            else:
                copy(row(x, place, neurons), current)
            if returns:
                added(back, neurons, where, what, firing, total)
                for i in range(neurons):
                    current[i] = current[i] + total[i]
            at = (t * batch + b) * neurons
            if driven.shape[0]:
                copy(current, row(driven, at, neurons))
            levels = row(level, t * level_step + b * level_sample, neurons)
            if by_gain:
                for i in range(neurons):
                    current[i] = current[i] / levels[i]
            for block in range(blocks):
                start = block * WIDEST
                count, some = min(WIDEST, neurons - start), row(mine, block * ROWS, ROWS)
                if not by_gain and (t == 0 or level_step):
                    copy(row(levels, start, count), row(some, LEVEL, count))
                call(step, some, current, start, count, flags)
                copy(row(some, OUT, count), row(out, at + start, count))
            if returns:
                firing = active(out, at, neurons, where, what)
        for block in range(blocks):
            start = block * WIDEST
            count, some = min(WIDEST, neurons - start), row(mine, block * ROWS, ROWS)
            for k in range(count_states):
                copy(row(some, STATES + k * APART, count), row(states, (k * batch + b) * neurons + start, count))
        if returns:
            copy(row(out, ((steps - 1) * batch + b) * neurons, neurons), row(fired, b * neurons, neurons))


@loop
def row_of_frame(x, place, by_channel, by_column, channels, width, places, numbers):  # type: ignore[no-untyped-def]
    """As :func:`active` for a row of a frame: places are ``column * channels + channel``, in ascending order."""
    if by_channel == 1 and by_column == channels:
        return active(x, place, width * channels, places, numbers)
    count = 0
    for column in range(width):
        for channel in range(channels):
            v = x[place + column * by_column + channel * by_channel]
            places[count] = column * channels + channel
            numbers[count] = v
            count += v != 0
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
    """The currents of frames: an input that is not 0 adds a row of weights at each place that it reaches.

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
    places, numbers = np.empty(width * channels + 1, np.int64), np.empty(width * channels + 1, x.dtype)
    plain = stride[0] == 1 and stride[1] == 1 and dilation[0] == 1 and dilation[1] == 1
    for f in range(frames):
        frame = row(out, f * high * wide * many, high * wide * many)
        for i in range(high * wide * many):
            frame[i] = 0
        done = 0
        for y in range(height):
            start = f * by_frame + y * by_row
            count = row_of_frame(x, start, by_channel, by_column, channels, width, places, numbers)
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


def delayed(  # type: ignore[no-untyped-def]
    x, by_step, by_sample, steps, batch, inputs, late, starts, goals, weights, gain, shift, out,
):  # fmt: skip
    """The currents of synapses with delays: an input that is not 0 adds each of its weights at a later step.

    Args:
        x: Inputs; those of step t and sample b begin at ``t * by_step + b * by_sample``.
        steps: T; ``batch``: B; ``inputs``: D; ``late``: steps after the last that have currents.
        starts: ``[D + 1]``: the synapses of input d are those from ``starts[d]`` to ``starts[d + 1]``.
        goals: ``[2 * synapses]``: the delay in steps, and the neuron of each; ``weights``, ``[synapses]``.
        gain: Of the neurons, ``[N]``; ``shift`` likewise.
        out: Gets the currents ``[T' * B * N]``.
    """
    neurons, total = gain.shape[0], steps + late
    places, numbers = np.empty(inputs + 1, np.int64), np.empty(inputs + 1, x.dtype)
    for i in range(total * batch * neurons):
        out[i] = 0
    for t in range(steps):
        for b in range(batch):
            count = active(x, t * by_step + b * by_sample, inputs, places, numbers)
            for k in range(count):
                v = numbers[k]
                for n in range(starts[places[k]], starts[places[k] + 1]):
                    goal = t + goals[2 * n]
                    if goal < total:
                        at = (goal * batch + b) * neurons + goals[2 * n + 1]
                        out[at] = out[at] + v * weights[n]
    for place in range(total * batch):
        current = row(out, place * neurons, neurons)
        for i in range(neurons):
            current[i] = current[i] * gain[i] + shift[i]


@cache
def delay_loop() -> Any:
    """Return :func:`delayed`, compiled at the first call, or loaded from numba's cache."""
    whole = types.int64
    given, made = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))
    places = types.Array(types.int64, 1, "C", readonly=True)
    signature = (given, *[whole] * 6, places, places, given, given, given, made)
    return for_arguments(kept_on_disk(delayed, OPTIONS), signature).get_overload(signature)


def delayed_step(  # type: ignore[no-untyped-def]
    x, now, starts, goals, weights, gain, shift, ring, longest, places, numbers, current,
):  # fmt: skip
    """One step of synapses with delays, of one sample: as :func:`delayed`, with the currents to come in a ring.

    Args:
        x: Inputs ``[D]``.
        now: Row of the ring that has the currents of this step.
        starts: As of :func:`delayed`; and the next four.
        ring: Currents to come before gain and shift, ``[M * N]``; the row of this step becomes 0.
        longest: M, the longest delay and 1.
        places: Memory ``[D + 1]``; ``numbers`` likewise.
        current: Gets the currents ``[N]``.
    """
    neurons = gain.shape[0]
    count = active(x, 0, starts.shape[0] - 1, places, numbers)
    for k in range(count):
        v = numbers[k]
        for n in range(starts[places[k]], starts[places[k] + 1]):
            goal = now + goals[2 * n]
            goal -= longest if goal >= longest else 0
            at = goal * neurons + goals[2 * n + 1]
            ring[at] = ring[at] + v * weights[n]
    mine = row(ring, now * neurons, neurons)
    for i in range(neurons):
        current[i] = mine[i] * gain[i] + shift[i]
        mine[i] = 0


@cache
def delay_step() -> Any:
    """Return :func:`delayed_step`, compiled at the first call, or loaded from numba's cache."""
    whole = types.int64
    given, made = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))
    found, places = (types.Array(types.int64, 1, "C", readonly=readonly) for readonly in (False, True))
    signature = (given, whole, places, places, given, given, given, made, whole, found, made, made)
    return for_arguments(kept_on_disk(delayed_step, OPTIONS), signature).get_overload(signature)


@cache
def layer_loop() -> Any:
    """Return :func:`layer`, compiled at the first call, or loaded from numba's cache."""
    whole, truth = types.int64, types.boolean
    given, made = (types.Array(types.float32, 1, "C", readonly=readonly) for readonly in (True, False))
    signature = (
        given, *[whole] * 6, given, given, given, given, truth,
        given, whole, whole, truth, given, whole, whole, whole, truth, whole, made, made,
        whole, whole, made, made,
    )  # fmt: skip
    return for_arguments(kept_on_disk(layer, OPTIONS), signature).get_overload(signature)
