"""The single steps of a call with outputs that return, on tensors: what both directions of time share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neurozoo.backends.fused.memory import Call
from neurozoo.backends.fused.operators import spec_of
from neurozoo.core.neuron import NeuronSpec, without_diagonal
from neurozoo_numba.block import WIDEST, address
from neurozoo_numba.kinds import KERNEL_KINDS, PARAMETERS
from neurozoo_numba.operator import WORTH, Array, form_of, shared_arguments, spiking_arguments
from neurozoo_numba.stepwise import ARRAYS, CONSTANTS, single_step
from neurozoo_numba.threads import in_threads

__all__ = [
    "PIECES",
    "Back",
    "Fixed",
    "Forth",
    "Loop",
    "Sums",
    "apart",
    "heights_suffice",
    "reusable",
    "spans",
    "used_again",
    "weight_gradient",
]

PLACES = {name: place for place, name in enumerate((*CONSTANTS, *ARRAYS))}
NO_BYTES: Array = np.empty(0, np.uint8)
PIECES = 3
"""In so many pieces spikes in bytes become numbers for a product: more take longer, fewer take more memory."""


class Fixed(NamedTuple):
    """What the parameters of a call are, for autograd to pass through.

    Attributes:
        numbers: See ``neurozoo.backends.fused.operators``.
        text: The specification, likewise.
        detach: Whether the gradient stops at the outputs that return.
        self_connections: Whether the diagonal of the weights is used.
        late: Steps without an input after those that have one.
        driven: Whether the whole currents are returned.
    """

    numbers: Sequence[float]
    text: str
    detach: bool
    self_connections: bool
    late: int = 0
    driven: bool = False

    def used(self, weight: Tensor) -> Tensor:
        """Return the recurrent weights as used."""
        return weight if self.self_connections else without_diagonal(weight)


class Loop:
    """A call's constants, and its single steps.

    Args:
        currents: ``[T, B, ..., N]``, for its shape and dtype.
        threshold: 0-d, or with as many axes as the currents.
        params: ``[P, *shape]`` or None.
        fixed: See :class:`Fixed`.
        learn: Whether the gradients of threshold and parameters are needed.
    """

    def __init__(
        self, currents: Tensor, threshold: Tensor, params: Tensor | None, fixed: Fixed, learn: tuple[bool, bool]
    ) -> None:
        self.spec = spec_of(fixed.text)
        call = Call(currents.new_empty(1).expand(currents.shape), None, threshold, params, fixed.numbers, self.spec)
        form = form_of(call)
        kind = KERNEL_KINDS[form.kind]
        self.shape, self.steps, self.size, self.learn = currents.shape, len(currents), call.size, learn
        self.threshold, self.params, self.form = call.threshold, call.params, form
        self.bits, self.blocks = 8 * currents.element_size(), -(-self.size // WIDEST)
        *_, rest, self.levels, by_step, inner, period, self.p, p_inner, p_period, own, flags, step, _ = (
            shared_arguments(call, form, currents[:0])
        )
        self.rest: list[float] = rest.tolist()
        detach, late, _, surrogate, *numbers = spiking_arguments(call, kind.late, False)
        self.numbers: Array = np.array(numbers, rest.dtype)
        self.table: Array = np.array(
            (
                WIDEST, self.size, kind.states, kind.parameters, by_step, inner, period, p_inner, p_period, own, flags,
                step, 0, detach, late, surrogate, *learn, self.size, 0, self.levels.ctypes.data, self.p.ctypes.data,
                *[0] * (len(ARRAYS) - 2),
            ),
            np.int64,
        )  # fmt: skip
        self.by_heights = not any(learn) and heights_suffice(self.spec)
        self.threads = min(torch.get_num_threads(), self.blocks, self.size // WORTH)

    def tabled(self, constants: Mapping[str, int], **arrays: Tensor | None) -> Array:
        """Return the table of a direction, with other constants and the addresses of contiguous tensors."""
        table = self.table.copy()
        for name, number in constants.items():
            table[PLACES[name]] = number
        for name, x in arrays.items():
            if x is not None:
                table[PLACES[name]] = x.data_ptr()
        return table

    def run(self, kernel: Any, *arguments: Any) -> None:
        """Run a kernel on all neurons."""
        if self.threads <= 1:
            kernel(0, self.blocks, *arguments)
        else:
            in_threads(lambda first, last: kernel(first, last, *arguments), self.blocks, self.size // WORTH)

    def resting(self, like: Tensor) -> Tensor:
        """Return states at rest, ``[S, B, ..., N]``."""
        states = like.new_zeros((len(self.rest), *self.shape[1:]))
        for state, number in zip(states, self.rest, strict=True):
            if number:
                state.fill_(number)
        return states

    def rows(self, x: Tensor) -> Tensor:
        """Return one step's numbers as ``[B * ..., N]``."""
        return x.view(-1, self.shape[-1])


def heights_suffice(spec: NeuronSpec) -> bool:
    """Whether an adjoint needs the heights alone, if there are no gradients of threshold, parameters and states."""
    reset_late = getattr(spec, "order", "charge-first") == "fire-first" and getattr(spec, "v_reset", None) is not None
    return spec.spiking and not (reset_late and not getattr(spec, "detach_reset", True))


class Forth:
    """Runs the steps in the order of time.

    Args:
        loop: The call.
        x: Currents of all steps, of which each step is contiguous.
        states: ``[S, B, ..., N]`` before the first step, replaced by those after the last.
        fired: Outputs before the first step, ``[B, ..., N]``, replaced by those of the last; None for 0.
        weight: Recurrent weights as used.
        driven: See ``neurozoo_numba.stepwise.advance``, also for the others; None for none.
        heights: Likewise.
        out: Likewise.
        spikes: Likewise.
    """

    def __init__(
        self,
        loop: Loop,
        x: Tensor,
        states: Tensor,
        fired: Tensor | None,
        weight: Tensor,
        *,
        driven: Tensor | None = None,
        heights: Tensor | None = None,
        out: Tensor | None = None,
        spikes: Tensor | None = None,
    ) -> None:
        self.loop, self.weight = loop, weight.T
        self.returns = fired is not None
        # Products can depend on how memory is aligned, in their last bit; torch's new memory always is.
        self.fired = states.new_empty(states.shape[1:]) if fired is None else fired
        self.by_row = loop.rows(self.fired)
        self.back = torch.empty_like(self.by_row)
        self.table = loop.tabled(
            {"apart": x.stride(0)}, x=x, back=self.back if self.returns else None, now=states, driven=driven,
            heights=heights, fired=self.fired, out=out, spikes=spikes,
        )  # fmt: skip
        self.held = (x, states, driven, heights, out, spikes)  # the table has their addresses alone
        self.kernel = single_step("advance", loop.bits)

    def step(self, t: int) -> None:
        """Run the next step, ``t``."""
        if self.returns:
            torch.mm(self.by_row, self.weight, out=self.back)
        self.loop.run(self.kernel, t, self.table, self.loop.numbers, NO_BYTES)
        if not self.returns:
            self.returns, self.table[PLACES["back"]] = True, self.back.data_ptr()


class Back:
    """Runs the adjoints of the steps, from the last to the first, and sums the gradients of threshold and parameters.

    Args:
        loop: The call.
        x: The whole currents ``[T, B, ..., N]``; None where the heights suffice.
        heights: Those of all steps, if they suffice.
        grad: ``[T, B, ..., N]``, gets the gradients of the currents; may be ``x`` or ``heights``.
        to_after: Gradient of the states after the last step, ``[S, B, ..., N]``, which is overwritten; None for none.
        to_out: ``[B, ..., N]``: the gradient of the next step's outputs, to be written before each step.
    """

    def __init__(
        self,
        loop: Loop,
        x: Tensor | None,
        heights: Tensor | None,
        grad: Tensor,
        to_after: Tensor | None,
        to_out: Tensor,
    ) -> None:
        self.loop = loop
        learned = PARAMETERS if loop.learn[1] else int(loop.learn[0])
        self.after = grad.new_zeros((len(loop.rest), *loop.shape[1:])) if to_after is None else to_after
        self.heights, self.first = heights, 0
        places = loop.threshold.places(loop.blocks) if loop.learn[0] else 0
        many = loop.params.places(loop.blocks) if loop.params is not None and loop.learn[1] else 0
        self.to_levels, self.to_params = grad.new_zeros(places), grad.new_zeros(many)
        adjoint = address("adjoint", loop.form._replace(learn=learned))
        self.table = loop.tabled(
            {"adjoint": adjoint, "ends": to_after is None}, x=x, heights=heights, to_out=to_out, to_now=self.after,
            to_x=grad, to_levels=self.to_levels, to_params=self.to_params,
        )  # fmt: skip
        self.held: tuple[Tensor | None, ...] = (x, heights, to_out, grad)
        self.kernel = single_step("retreat", loop.bits)

    def replay(self, begin: int, end: int, start: Tensor) -> None:
        """Compute heights and states of steps ``begin`` to ``end`` again, from the states ``start`` before them."""
        loop, table = self.loop, self.table
        if self.heights is None:
            most = min(apart(loop.steps), loop.steps)
            self.heights, befores = start.new_empty((most, *loop.shape[1:])), start.new_empty((most, *start.shape))
            table[PLACES["heights"]], table[PLACES["befores"]] = self.heights.data_ptr(), befores.data_ptr()
            self.held = (*self.held, befores)
        self.first, table[PLACES["now"]] = begin, start.data_ptr()
        loop.run(single_step("replay", loop.bits), begin, end, table, loop.numbers)

    def step(self, t: int) -> None:
        """Run the adjoint of step ``t``."""
        self.loop.run(self.kernel, t, t - self.first, self.table, self.loop.numbers)
        self.table[PLACES["ends"]] = 0

    def learned(self, params: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of threshold and parameters; None if not needed."""
        loop = self.loop
        to_threshold = loop.threshold.gradient(self.to_levels, loop.blocks) if loop.learn[0] else None
        if not loop.learn[1] or loop.params is None or params is None:
            return to_threshold, None
        return to_threshold, loop.params.gradient(self.to_params, loop.blocks).reshape(params.shape)


class Sums:
    """Sums products of gradients and what was multiplied by weights, some steps at a time.

    Args:
        weight: ``[N, K]``, for the shape and the order in memory of its gradient.
    """

    def __init__(self, weight: Tensor) -> None:
        self.made = torch.empty_like(weight)
        self.begun = False

    def add(self, grad: Tensor, given: Tensor) -> None:
        """Add ``grad^T given`` of ``[R, N]`` and ``[R, K]``."""
        if self.begun:
            self.made.addmm_(grad.T, given)
        else:
            torch.mm(grad.T, given, out=self.made)
            self.begun = True

    def result(self) -> Tensor:
        """Return the gradient of the weights."""
        return self.made if self.begun else self.made.zero_()


def weight_gradient(weight: Tensor, grad: Tensor, fired: Tensor, initial: Tensor | None, fixed: Fixed) -> Tensor:
    """Return the gradient of the recurrent weights.

    Args:
        weight: ``[N, N]``.
        grad: Gradient of the currents, ``[T, B, ..., N]``.
        fired: The outputs, as numbers or bytes.
        initial: Those before the first step; None for 0.
        fixed: The call.
    """
    width, sums = weight.shape[1], Sums(weight)
    for span in spans(len(grad) - 1, -(-len(grad) // PIECES)):
        after = grad[span.start + 1 : span.stop + 1].view(-1, width)
        sums.add(after, fired[span].to(grad.dtype).view(-1, width))
    if initial is not None:
        sums.add(grad[0].view(-1, width), initial.reshape(-1, width))
    made = sums.result()
    return made if fixed.self_connections else made.fill_diagonal_(0)


def spans(steps: int, each: int) -> list[slice]:
    """Return the steps in groups."""
    return [slice(begin, min(steps, begin + each)) for begin in range(0, steps, each)]


def apart(steps: int) -> int:
    """Return how many steps are between two whose states are kept."""
    return max(1, math.isqrt(steps))


def used_again() -> RuntimeError:
    """Return torch's error for a second backward of a graph that was not retained."""
    return RuntimeError(
        "the graph of a recurrent layer was used for a backward before; for another one give retain_graph=True to the "
        "first"
    )


def reusable() -> bool:
    """Whether the backward that runs is the last one of its graph, so that what it has read may be overwritten."""
    return not torch._C._autograd._get_current_graph_task_keep_graph()
