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
from neurozoo_numba.streaming import OPTIONS, WORD, call, copy, loop, lowest_bit, not_zero, read_ahead, row
from numba import types

__all__ = ["delay_loop", "delay_step", "layer_loop"]

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
            place, at = t * by_step + b * by_sample, (t * batch + b) * neurons
            if batch > 1:  # steps of a sample are far apart: memory is fetched while the step is computed
                read_ahead(out, at, neurons)
                if t + 1 < steps:
                    read_ahead(x, place + by_step, max(inputs, neurons))
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
