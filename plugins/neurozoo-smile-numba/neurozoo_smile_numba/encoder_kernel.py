"""Encoder blocks, compiled, forward and backward: a sample at a time, and all of a block while it is in the cache.

Features come before positions, ``[D, L]``, so that every loop runs over neighbouring positions, whatever is added up.
Queries are taken :data:`CHUNK` at a time. Keys and values are made for a whole source, without the rows that its mask
leaves out. The backward recomputes everything from the sequences that came in: nothing else is kept.

A number's operations and their order depend on its own sample alone, so that it is the same in every batch; and a
weight's gradient is added up over :data:`PIECE` samples, and then over the pieces. Neither depends on the threads.
"""

from __future__ import annotations

import math
from collections import namedtuple
from functools import cache
from typing import Any

import numpy as np
from neurozoo_numba.compiling import for_arguments, kept_on_disk
from numba import types

from neurozoo_smile_numba.products import OPTIONS, STRIP, add_sums, part, product
from neurozoo_smile_numba.steps import (
    add,
    affine,
    bytes_at,
    clear,
    copy,
    drop,
    embed,
    linear,
    linear_relu,
    numbers_at,
    relu_back,
    scale_by,
    softmax,
    softmax_back,
    standardise,
    through_linear,
    through_norm,
    whole_at,
)

__all__ = ["COLUMNS", "INNER", "PARAMETERS", "PIECE", "compiled", "parameter_counts"]

CHUNK = 64
"""Queries at a time: the numbers from row to row of all that is theirs."""
PIECE = 16
"""Samples whose gradients of a block's weights are added up at once."""
LOG2_E, LN_2 = math.log2(math.e), np.float32(math.log(2))

QUERY_X, QUERY_POSITION, QUERY_SHARED, ASKING = range(4)
SOURCE_X, SOURCE_POSITION, SOURCE_SHARED, ASKED = range(4, 8)
MASK, OUT, BITS, LOST, LOST_WEIGHTS, GRAD_QUERY, GRAD_SOURCE, FIRST_PARAMETER = range(8, 16)
"""Columns of the table that says where a block finds everything, see :func:`_forward`."""
PARAMETERS = 18
"""Weight and bias each of three norms (embedding, attention, output) and six linears (query, key, value, out, inner,
outer)."""
COLUMNS = FIRST_PARAMETER + PARAMETERS
NORM_0, NORM_1, NORM_2, QUERY, KEY, VALUE, ATTENDED, INNER, OUTER = range(0, PARAMETERS, 2)


Sample = namedtuple(
    "Sample",
    "width inner heads asking asked query source query_position source_position mask out to_query to_source "
    "bits_asking bits_attended bits_fed bits_to_key bits_to_value bits_weights lost lost_weights code",
)
"""Addresses and sizes of a sample in a block.

``width`` D, ``inner`` width of the feed-forward, ``heads`` H, ``asking`` Q and ``asked`` S are sizes. ``query``
``[Q, D]`` and ``source`` ``[S, D]`` have positions ``[Q]`` and ``[S]``, the source a ``mask`` ``[S]`` or 0; ``out``
is the result ``[Q, D]`` or its gradient, ``to_query`` and ``to_source`` are gradients, and ``code`` is the position
code. Random bits for dropout have two bytes each: ``[D, Q]`` for the queries' input, attention's result and the
feed-forward's, ``[D, S]`` for the inputs of keys and values, and ``[H S, Q]`` for attention's weights. ``lost`` and
``lost_weights``, of 2^16, say how many elements are dropped."""

Source = namedtuple(
    "Source",
    "row hat to_key to_value keys values by_keys by_values by_source other scale mean position place lines",
)
"""Addresses of a source ``[D, S]`` without the rows that the mask leaves out.

``row`` numbers lie from row to row; ``hat`` is embedded and standardised by ``scale`` ``[S]``; ``to_key`` and
``to_value`` are the inputs of ``keys`` and ``values`` after dropout; ``lines`` ``[S, D]``, ``position`` and
``place`` are the source's rows that are left, their positions and which rows they were. Gradients: ``by_keys``,
``by_values``, and ``by_source`` with ``other`` as room for it. ``mean`` is room for a row."""

Chunk = namedtuple(
    "Chunk",
    "row by_head hat_0 hat_1 hat_2 asking query heads attended middle by_x by_asking by_heads fed by_fed weights "
    "dropped scale_0 scale_1 scale_2 most total",
)
"""Addresses of all intermediate results of :data:`CHUNK` queries, ``[D, CHUNK]``.

``row`` is CHUNK, as a variable: constants make numba compile a function once more. ``hat_0``, ``hat_1`` and
``hat_2`` are the inputs of the three norms, standardised by ``scale_0`` to ``scale_2`` ``[CHUNK]``. In order:
``asking`` is the input of attention after dropout, ``query`` its queries (scaled so that weights are powers of 2),
``weights`` ``[S, CHUNK]`` of one head or, ``by_head`` bytes apart, of each, ``dropped`` those of a head after
dropout, ``heads`` the heads' result, ``attended`` attention's, ``middle`` the input of the feed-forward and ``fed``
``[inner, CHUNK]`` its hidden layer. ``by_x`` is the gradient from norm to norm, and ``by_asking``, ``by_heads``,
``by_fed`` are those of these. ``most`` and ``total`` are room for a row."""


@part
def _up(count):  # type: ignore[no-untyped-def]
    """The next multiple of :data:`STRIP`."""
    return (count + STRIP - 1) // STRIP * STRIP


@part
def _sample(row, b, width, inner, heads, code):  # type: ignore[no-untyped-def]
    asking, asked = row[ASKING], row[ASKED]
    queries, sources = 2 * width * asking, 2 * width * asked
    weights = 2 * heads * asked * asking if row[LOST_WEIGHTS] else 0
    bits = row[BITS] + b * (3 * queries + 2 * sources + weights)
    of_query, of_source = 4 * b * asking * width, 4 * b * asked * width
    # Choices are made before: numba does not read them among many named arguments.
    query_position = row[QUERY_POSITION] + (0 if row[QUERY_SHARED] else 8 * b * asking)
    source_position = row[SOURCE_POSITION] + (0 if row[SOURCE_SHARED] else 8 * b * asked)
    mask = row[MASK] + b * asked if row[MASK] else 0
    return Sample(
        width=width,
        inner=inner,
        heads=heads,
        asking=asking,
        asked=asked,
        query=row[QUERY_X] + of_query,
        source=row[SOURCE_X] + of_source,
        query_position=query_position,
        source_position=source_position,
        mask=mask,
        out=row[OUT] + of_query,
        to_query=row[GRAD_QUERY] + of_query,
        to_source=row[GRAD_SOURCE] + of_source,
        bits_asking=bits,
        bits_attended=bits + queries,
        bits_fed=bits + 2 * queries,
        bits_to_key=bits + 3 * queries,
        bits_to_value=bits + 3 * queries + sources,
        bits_weights=bits + 3 * queries + 2 * sources,
        lost=row[LOST],
        lost_weights=row[LOST_WEIGHTS],
        code=code,
    )


@part
def _source(room, width, longest):  # type: ignore[no-untyped-def]
    row = _up(longest)
    each, line = 4 * width * row, 4 * row
    rest = room + 9 * each
    return Source(
        row=row,
        hat=room,
        to_key=room + each,
        to_value=room + 2 * each,
        keys=room + 3 * each,
        values=room + 4 * each,
        by_keys=room + 5 * each,
        by_values=room + 6 * each,
        by_source=room + 7 * each,
        other=room + 8 * each,
        scale=rest,
        mean=rest + line,
        position=rest + 2 * line,
        place=rest + 2 * line + 8 * longest,
        lines=rest + 2 * line + 16 * longest,
    )


@part
def _chunk(room, width, inner, longest, kept):  # type: ignore[no-untyped-def]
    """With room for the weights of so many heads."""
    row: Any = np.int64(CHUNK)
    line = 4 * row
    each, fed = width * line, room + 11 * width * line
    weights = fed + 2 * inner * line
    dropped = weights + kept * longest * line
    rest = dropped + longest * line
    by_head = longest * line if kept > 1 else 0
    return Chunk(
        row=row,
        by_head=by_head,
        hat_0=room,
        hat_1=room + each,
        hat_2=room + 2 * each,
        asking=room + 3 * each,
        query=room + 4 * each,
        heads=room + 5 * each,
        attended=room + 6 * each,
        middle=room + 7 * each,
        by_x=room + 8 * each,
        by_asking=room + 9 * each,
        by_heads=room + 10 * each,
        fed=fed,
        by_fed=fed + inner * line,
        weights=weights,
        dropped=dropped,
        scale_0=rest,
        scale_1=rest + line,
        scale_2=rest + 2 * line,
        most=rest + 3 * line,
        total=rest + 4 * line,
    )


@part
def _room(width, inner, longest, kept):  # type: ignore[no-untyped-def]
    """A source and a chunk, and the memory that both are in: it has to outlive their use."""
    of_source = (9 * width + 2) * _up(longest) + longest * (width + 4)
    of_chunk = (11 * width + 2 * inner + (kept + 1) * longest + 5) * CHUNK
    room = np.empty(of_source + of_chunk, np.float32)
    address = np.int64(room.ctypes.data)
    return room, _source(address, width, longest), _chunk(address + 4 * of_source, width, inner, longest, kept)


@part
def _read_source(it, parameters, to):  # type: ignore[no-untyped-def]
    """Make keys and values of a sample's source; returns how many rows it has, or -1 for a position without a code."""
    width, heard = it.width, np.int64(0)
    given, lines = numbers_at(it.source, it.asked * width), numbers_at(to.lines, it.asked * width)
    positions, kept = whole_at(it.source_position, it.asked), whole_at(to.position, it.asked)
    places, mask = whole_at(to.place, it.asked), bytes_at(it.mask, it.asked)
    for s in range(it.asked):
        if it.mask == 0 or mask[s]:
            for d in range(width):
                lines[heard * width + d] = given[s * width + d]
            kept[heard] = positions[s]
            places[heard] = s
            heard += 1
    columns, row = _up(heard), to.row
    if not embed(to.lines, to.position, heard, width, it.code, it.asked, to.hat, row, columns):
        return -1
    standardise(to.hat, row, width, columns, to.mean, to.scale)
    affine(to.hat, row, width, columns, parameters, NORM_0, to.to_key)
    copy(to.to_key, row, width, columns, to.to_value)
    drop(to.to_key, row, width, heard, it.bits_to_key, it.asked, it.lost)
    drop(to.to_value, row, width, heard, it.bits_to_value, it.asked, it.lost)
    linear(parameters, KEY, to.to_key, row, to.keys, width, width, columns)
    linear(parameters, VALUE, to.to_value, row, to.values, width, width, columns)
    return heard


@part
def _bits_of_weights(it, h, start):  # type: ignore[no-untyped-def]
    return it.bits_weights + 2 * (h * it.asked * it.asking + start)


@part
def _attend(it, of, heard, chunk, start, count, columns):  # type: ignore[no-untyped-def]
    """What the heads give, into ``chunk.heads``."""
    head = it.width // it.heads
    for h in range(it.heads):
        keys, values = of.keys + 4 * h * head * of.row, of.values + 4 * h * head * of.row
        query, out = chunk.query + 4 * h * head * chunk.row, chunk.heads + 4 * h * head * chunk.row
        weights = chunk.weights + h * chunk.by_head
        product(keys, np.int64(1), of.row, query, chunk.row, weights, chunk.row, heard, head, columns)
        softmax(weights, chunk.row, heard, columns, chunk.most, chunk.total)
        if it.lost_weights:
            copy(weights, chunk.row, heard, columns, chunk.dropped)
            weights = chunk.dropped
            drop(weights, chunk.row, heard, count, _bits_of_weights(it, h, start), it.asking, it.lost_weights)
        product(values, of.row, np.int64(1), weights, chunk.row, out, chunk.row, head, heard, columns)


@part
def _ask(it, parameters, of, heard, chunk, start, columns):  # type: ignore[no-untyped-def]
    """All of a block for the queries from ``start`` on, up to its last layer norm's ``chunk.hat_2``; False for a
    position without a code."""
    width, inner, lost, count = it.width, it.inner, it.lost, min(CHUNK, it.asking - start)
    x, position = it.query + 4 * start * width, it.query_position + 8 * start
    if not embed(x, position, count, width, it.code, it.asking, chunk.hat_0, chunk.row, columns):
        return False
    standardise(chunk.hat_0, chunk.row, width, columns, chunk.most, chunk.scale_0)
    affine(chunk.hat_0, chunk.row, width, columns, parameters, NORM_0, chunk.asking)
    drop(chunk.asking, chunk.row, width, count, it.bits_asking + 2 * start, it.asking, lost)
    copy(chunk.asking, chunk.row, width, columns, chunk.hat_1)
    if heard:
        linear(parameters, QUERY, chunk.asking, chunk.row, chunk.query, width, width, columns)
        scale_by(np.float32(LOG2_E / math.sqrt(width // it.heads)), chunk.query, chunk.row, width, columns)
        _attend(it, of, heard, chunk, start, count, columns)
        linear(parameters, ATTENDED, chunk.heads, chunk.row, chunk.attended, width, width, columns)
        drop(chunk.attended, chunk.row, width, count, it.bits_attended + 2 * start, it.asking, lost)
        add(chunk.attended, chunk.row, width, columns, chunk.hat_1)
    standardise(chunk.hat_1, chunk.row, width, columns, chunk.most, chunk.scale_1)
    affine(chunk.hat_1, chunk.row, width, columns, parameters, NORM_1, chunk.middle)
    linear_relu(parameters, INNER, chunk.middle, chunk.row, chunk.fed, inner, width, columns)
    linear(parameters, OUTER, chunk.fed, chunk.row, chunk.hat_2, width, inner, columns)
    drop(chunk.hat_2, chunk.row, width, count, it.bits_fed + 2 * start, it.asking, lost)
    add(chunk.middle, chunk.row, width, columns, chunk.hat_2)
    standardise(chunk.hat_2, chunk.row, width, columns, chunk.most, chunk.scale_2)
    return True


def _forward(first, last, samples, width, inner, heads, code, table):  # type: ignore[no-untyped-def]
    """Blocks and samples ``first`` to ``last``: number ``n`` is sample ``n % samples`` of block ``n // samples``.

    Args:
        first: From 0.
        last: One past the last.
        samples: B.
        width: D.
        inner: Width of the feed-forward.
        heads: H, divides D.
        code: Address of the position code ``[longest sequence, D]``.
        table: ``[G, COLUMNS]``, a row a block: of query and source the addresses of ``[B, L, D]`` and of positions
            ``[B, L]``, whether these are ``[1, L]`` for all, and L; the address of the source's mask ``[B, S]``, or 0;
            of the result, or in the backward its gradient; of random bits, and how many of 2^16 are lost in dropout and
            in that of attention's weights; of the gradients of query and source; and those of its :data:`PARAMETERS`.

    Returns:
        False where it stopped at a position that is not in its sequence.
    """
    longest = table[:, ASKED].max()
    room, of, chunk = _room(width, inner, longest, np.int64(1))
    for n in range(first, last):
        row = table[n // samples]
        parameters, it = row[FIRST_PARAMETER:], _sample(row, n % samples, width, inner, heads, code)
        heard = _read_source(it, parameters, of)
        if heard < 0:
            return False
        for start in range(0, it.asking, CHUNK):
            count = min(CHUNK, it.asking - start)
            columns = _up(count)
            if not _ask(it, parameters, of, heard, chunk, start, columns):
                return False
            affine(chunk.hat_2, chunk.row, width, columns, parameters, NORM_2, chunk.attended)
            out, made = (
                numbers_at(it.out + 4 * start * width, count * width),
                numbers_at(chunk.attended, width * chunk.row),
            )
            for i in range(count):
                for d in range(width):
                    out[i * width + d] = made[d * chunk.row + i]
    room[0] = 0  # numba frees memory after its last use
    return True


@part
def _through_attention(it, of, heard, chunk, start, count, columns):  # type: ignore[no-untyped-def]
    """From the gradient of what the heads give to that of the queries, in its place, and of keys and values, added."""
    head, back = it.width // it.heads, chunk.dropped
    for h in range(it.heads):
        behind, own = 4 * h * head * of.row, 4 * h * head * chunk.row
        weights, grad = chunk.weights + h * chunk.by_head, chunk.by_heads + own
        bits = _bits_of_weights(it, h, start)
        used = weights
        if it.lost_weights:
            copy(weights, chunk.row, heard, columns, back)
            drop(back, chunk.row, heard, count, bits, it.asking, it.lost_weights)
            used = back
        add_sums(grad, chunk.row, used, chunk.row, of.by_values + behind, of.row, head, heard, columns)
        product(of.values + behind, np.int64(1), of.row, grad, chunk.row, back, chunk.row, heard, head, columns)
        drop(back, chunk.row, heard, count, bits, it.asking, it.lost_weights)
        softmax_back(weights, chunk.row, heard, columns, back, chunk.total)
        product(of.keys + behind, of.row, np.int64(1), back, chunk.row, grad, chunk.row, head, heard, columns)
        add_sums(chunk.query + own, chunk.row, back, chunk.row, of.by_keys + behind, of.row, head, heard, columns)


@part
def _through_queries(it, parameters, of, heard, chunk, start, columns, to):  # type: ignore[no-untyped-def]
    """From the gradient of a chunk's result, in ``chunk.by_x``, to that of its queries, in the same place; adds those
    of keys, values and parameters."""
    width, inner, lost, count, x = it.width, it.inner, it.lost, min(CHUNK, it.asking - start), chunk.by_x
    row, most, total = chunk.row, chunk.most, chunk.total
    through_norm(parameters, to, NORM_2, x, row, width, columns, chunk.hat_2, chunk.scale_2, most, total)
    copy(x, row, width, columns, chunk.by_asking)
    drop(chunk.by_asking, row, width, count, it.bits_fed + 2 * start, it.asking, lost)
    through_linear(parameters, to, OUTER, chunk.fed, row, chunk.by_asking, chunk.by_fed, width, inner, columns)
    relu_back(chunk.fed, row, inner, columns, chunk.by_fed)
    through_linear(parameters, to, INNER, chunk.middle, row, chunk.by_fed, chunk.by_asking, inner, width, columns)
    add(chunk.by_asking, row, width, columns, x)
    through_norm(parameters, to, NORM_1, x, row, width, columns, chunk.hat_1, chunk.scale_1, most, total)
    if heard:
        copy(x, row, width, columns, chunk.by_asking)
        drop(chunk.by_asking, row, width, count, it.bits_attended + 2 * start, it.asking, lost)
        through_linear(
            parameters, to, ATTENDED, chunk.heads, row, chunk.by_asking, chunk.by_heads, width, width, columns
        )
        _through_attention(it, of, heard, chunk, start, count, columns)
        scale_by(np.float32(1 / math.sqrt(width // it.heads)), chunk.by_heads, row, width, columns)
        through_linear(parameters, to, QUERY, chunk.asking, row, chunk.by_heads, chunk.by_asking, width, width, columns)
        add(chunk.by_asking, row, width, columns, x)
    drop(x, row, width, count, it.bits_asking + 2 * start, it.asking, lost)
    through_norm(parameters, to, NORM_0, x, row, width, columns, chunk.hat_0, chunk.scale_0, most, total)


@part
def _through_source(it, parameters, of, heard, to):  # type: ignore[no-untyped-def]
    """From the gradients of keys and values to that of the source; adds those of parameters."""
    width, row, columns = it.width, of.row, _up(heard)
    scale_by(LN_2, of.by_keys, row, width, columns)  # the queries in these were scaled for powers of 2
    through_linear(parameters, to, KEY, of.to_key, row, of.by_keys, of.by_source, width, width, columns)
    through_linear(parameters, to, VALUE, of.to_value, row, of.by_values, of.other, width, width, columns)
    drop(of.by_source, row, width, heard, it.bits_to_key, it.asked, it.lost)
    drop(of.other, row, width, heard, it.bits_to_value, it.asked, it.lost)
    add(of.other, row, width, columns, of.by_source)
    through_norm(parameters, to, NORM_0, of.by_source, row, width, columns, of.hat, of.scale, of.mean, of.other)


def _backward(first, last, samples, width, inner, heads, code, table, counts, buffers):  # type: ignore[no-untyped-def]
    """Gradients of pieces ``first`` to ``last``, of :data:`PIECE` samples of a block each; see :func:`_forward`.

    ``counts`` are the sizes of the parameters, and ``buffers`` ``[pieces, numbers of all parameters]``, zeros, take the
    gradients of a piece's block.
    """
    longest = table[:, ASKED].max()
    room, of, chunk = _room(width, inner, longest, heads)
    each, to = (samples + PIECE - 1) // PIECE, np.empty(PARAMETERS, np.int64)
    for piece in range(first, last):
        row, place = table[piece // each], buffers[piece].ctypes.data
        parameters = row[FIRST_PARAMETER:]
        for which in range(PARAMETERS):
            to[which] = place
            place += 4 * counts[which]
        for b in range(piece % each * PIECE, min(samples, (piece % each + 1) * PIECE)):
            it = _sample(row, b, width, inner, heads, code)
            heard = _read_source(it, parameters, of)
            if heard < 0:
                return False
            clear(of.by_keys, of.row, 2 * width, of.row)  # and of values, which are behind them
            for start in range(0, it.asking, CHUNK):
                count = min(CHUNK, it.asking - start)
                columns = _up(count)
                if not _ask(it, parameters, of, heard, chunk, start, columns):
                    return False
                clear(chunk.by_x, chunk.row, width, columns)
                grad = numbers_at(it.out + 4 * start * width, count * width)
                made = numbers_at(chunk.by_x, width * chunk.row)
                for d in range(width):
                    for i in range(count):
                        made[d * chunk.row + i] = grad[i * width + d]
                _through_queries(it, parameters, of, heard, chunk, start, columns, to)
                to_query = numbers_at(it.to_query + 4 * start * width, count * width)
                for i in range(count):
                    for d in range(width):
                        to_query[i * width + d] = np.float32(2) * made[d * chunk.row + i]
            clear(it.to_source, width, it.asked, width)
            if heard:
                _through_source(it, parameters, of, heard, to)
                to_source, made = numbers_at(it.to_source, it.asked * width), numbers_at(of.by_source, width * of.row)
                places = whole_at(of.place, heard)
                for i in range(heard):
                    for d in range(width):
                        to_source[places[i] * width + d] = np.float32(2) * made[d * of.row + i]
    room[0] = 0  # numba frees memory after its last use
    return True


def parameter_counts(width: int, inner: int) -> list[int]:
    """How many numbers each of a block's parameters has."""
    return [*[width] * 6, *[width * width, width] * 4, width * inner, inner, width * inner, width]


@cache
def compiled(name: str) -> Any:
    """The kernel ``forward`` or ``backward``, compiled when first asked for; later it comes from numba's cache."""
    table, numbers = types.Array(types.int64, 2, "C", readonly=True), types.Array(types.float32, 2, "C")
    common = (*[types.int64] * 7, table)
    if name == "forward":
        return for_arguments(kept_on_disk(_forward, OPTIONS), common)
    return for_arguments(kept_on_disk(_backward, OPTIONS), (*common, types.Array(types.int64, 1, "C"), numbers))
