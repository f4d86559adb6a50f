"""A block of neurons in compiled code: rows of one array, and a kind's step and adjoint on them."""

from __future__ import annotations

from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

from numba import carray, types  # type: ignore[attr-defined]

from neurozoo_numba.compiling import called_by_address
from neurozoo_numba.kinds import KERNEL_KINDS
from neurozoo_numba.streaming import LINE, OPTIONS, loop, row, rows, values

FIRES_AT_TIES, HEIGHTS, CUT, ALONE = 1, 2, 4, 8
"""Flags of a step or an adjoint: whether a membrane at its threshold fires; whether to write heights (see
``neurozoo_numba.kinds``) instead of outputs; whether the gradient stops at the reset; and whether the heights of
neurons that cannot fire are minus infinity, so that spikes and slopes follow from the heights alone."""

WIDEST = 384
"""Largest block of neurons: all rows of a step or an adjoint fit the smallest cache, and are long enough to stream."""
APART = WIDEST + 5 * LINE
"""Distance between rows: rows at the same offset in a page would alias."""
LEVEL, OUT, TO_LEVEL, SLOPE, OUTER, CURRENT = range(0, 6 * APART, APART)
"""Rows of a block: thresholds; outputs of a step, or gradients of its currents; gradients of thresholds, summed over
steps; and in the backward a step's slopes, gradients of outputs and currents."""
STATES, GRADS, PARAMS, TO_PARAMS = 6 * APART, 10 * APART, 14 * APART, 19 * APART
"""Up to 4 states, 4 gradients of them, 5 parameters and 5 gradients of them."""
SUMS = 24 * APART
"""Sums of a held current's gradients over the steps."""
ROWS = 25 * APART


class Form(NamedTuple):
    """The constants that a step or an adjoint is compiled with.

    Attributes:
        kind: Name of the kind.
        hard: Whether the reset is.
        mode: How the membrane leaks and in which order, see ``neurozoo_numba.kinds``.
        own: Whether parameters differ between neurons.
        bits: 32 or 64, of the dtype.
        learn: For an adjoint: 0, 1 for the gradient of the threshold, 2 for those of the parameters too.
    """

    kind: str
    hard: bool
    mode: int
    own: bool
    bits: int
    learn: int = 0


@loop
def _shared(mine, count, many):  # type: ignore[no-untyped-def]
    """Parameters that all neurons share, as numbers."""
    return values(row(mine, PARAMS, many), many)


@loop
def _own(mine, count, many):  # type: ignore[no-untyped-def]
    """Parameters that differ between ``count`` neurons, as rows."""
    return rows(mine, PARAMS, APART, count, many)


# Placeholders for the globals of `step` and `adjoint`, which `address` fills in.
STEP: Any = None
ADJOINT: Any = None
PARAMETERS_OF: Any = None
STATE_COUNT = PARAMETER_COUNT = MODE = LEARN = 0
HARD = False


def step(mine, x, count, flags):  # type: ignore[no-untyped-def]
    """A step of a block's neurons with currents ``x``, in place in the rows of ``mine``."""
    mine, x = carray(mine, ROWS), carray(x, count)
    params, states = PARAMETERS_OF(mine, count, PARAMETER_COUNT), rows(mine, STATES, APART, count, STATE_COUNT)
    silent, heights, alone = flags & FIRES_AT_TIES == 0, flags & HEIGHTS != 0, flags & ALONE != 0
    STEP(x, row(mine, LEVEL, count), params, states, row(mine, OUT, count), (HARD, MODE, silent, heights, alone))


def adjoint(mine, heights, count, flags):  # type: ignore[no-untyped-def]
    """The step's adjoint with its ``heights``, in place in the rows of ``mine``."""
    mine, heights = carray(mine, ROWS), carray(heights, count)
    params, states = PARAMETERS_OF(mine, count, PARAMETER_COUNT), rows(mine, STATES, APART, count, STATE_COUNT)
    grads = rows(mine, GRADS, APART, count, STATE_COUNT)
    ADJOINT(
        row(mine, CURRENT, count), row(mine, LEVEL, count), params, states, heights,
        row(mine, SLOPE, count), row(mine, OUTER, count), grads, row(mine, OUT, count), row(mine, TO_LEVEL, count),
        rows(mine, TO_PARAMS, APART, count, PARAMETER_COUNT),
        (HARD, MODE, flags & FIRES_AT_TIES == 0, flags & CUT != 0, LEARN),
    )  # fmt: skip


@cache
def address(name: str, form: Form) -> int:
    """Compile the ``step`` or ``adjoint`` of a form, and return its address."""
    templates: dict[str, Any] = {"step": step, "adjoint": adjoint}
    template: FunctionType = templates[name]
    kind, numbers = KERNEL_KINDS[form.kind], types.CPointer(number_type(form.bits))  # type: ignore[no-untyped-call]
    constants = {
        "STEP": kind.step,
        "ADJOINT": kind.adjoint,
        "PARAMETERS_OF": _own if form.own else _shared,
        "STATE_COUNT": kind.states,
        "PARAMETER_COUNT": kind.parameters,
        "HARD": form.hard,
        "MODE": form.mode,
        "LEARN": form.learn,
    }
    made = FunctionType(template.__code__, {**template.__globals__, **constants}, name)
    made.__qualname__ = "_".join([name, *(str(int(each)) if each in (0, 1) else str(each) for each in form)])
    found: int = called_by_address(made, types.void(numbers, numbers, types.int64, types.int64), OPTIONS)
    return found


def number_type(bits: int) -> Any:
    """Return numba's float of 32 or 64 bits."""
    return types.float32 if bits == 32 else types.float64
