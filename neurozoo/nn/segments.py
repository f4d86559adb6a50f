"""Steps in segments whose insides are computed again in the backward, so that memory hardly grows with T.

Backpropagation keeps what the operations of all T steps need, several numbers a neuron and step. In segments, only the
state between two of them is kept (Chen et al. 2016, "Training deep nets with sublinear memory cost"); the backward runs
each segment forward once more. Gradients are exact, unlike those of e-prop (:mod:`neurozoo.nn.eprop`).

``torch.utils.checkpoint`` of each segment keeps a node of the graph for every operation of all steps, and small tensors
that lie between large ones that are freed, so that the heap grows by a segment's insides at each segment. Here the
forward has no graph, and all that stays is allocated before the segments run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.checkpoint import get_device_states, set_device_states

from neurozoo.errors import SpikingError

__all__ = ["in_segments"]

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_State = TypeVar("_State")
_Run = Callable[[Any, Any], tuple[Any, Any]]


def in_segments(
    run: Callable[[_Given, _State], tuple[_Made, _State]], x: _Given, state: _State, length: int | None = None
) -> tuple[_Made, _State]:
    """Run all steps of something with state, segment after segment.

    For the backward it keeps ``x``, the states between segments, and while it runs one segment's insides. So ``run``
    should hold as many layers as possible, up to the readout, whose outputs are small.

    Args:
        run: Takes some steps ``[t, B, ...]`` and the state before them, and returns their outputs ``[t, B, ...]`` and
            the state after them. A segment runs twice, so it must not change buffers, as a batch norm does; random
            numbers are the same both times. Weights that get a gradient are those that the first two segments use.
        x: ``[T, B, ...]``, or nested tuples of such tensors and None; outputs and states likewise.
        state: Before the first step, such as None at rest.
        length: Steps of a segment; by default half of the square root of T. All steps are one segment without gradients
            and while ``torch.compile`` traces.

    Returns:
        The outputs ``[T, B, ...]`` and the state after the last step; values as of ``run(x, state)``. Their gradients
        have none themselves.

    Raises:
        SpikingError: There are no steps, ``length`` is below 1, or ``run`` uses a tensor with a gradient that was
            computed outside.

    Example:
        >>> layer = neurozoo.LIF(nn.Linear(40, 128))
        >>> spikes, _ = in_segments(lambda x, state: layer.run(layer.currents(x), state), torch.rand(1000, 8, 40), None)
    """
    given, form = tree_flatten(x)
    steps = min((len(each) for each in given if isinstance(each, Tensor)), default=0)
    if not steps:
        raise SpikingError("a recurrence over no steps has no outputs; give x [T, B, ...] with T of 1 or more")
    length = _usual_length(steps) if length is None else length
    if length < 1:
        raise SpikingError(f"a segment of {length} steps is none; give 1 or more")
    if length >= steps or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return run(x, state)
    started, start_form = tree_flatten(state)
    bounds = [(begin, min(begin + length, steps)) for begin in range(0, steps, length)]
    segments = _Segments(run, form, start_form, bounds, _autocasts(given))
    made, after = segments.forth(given, started)
    inputs = [*given, *started, *segments.weights.values()]
    found = _Function.apply(segments, made, after, *inputs)  # type: ignore[no-untyped-call]
    assert segments.made_form is not None
    return (
        tree_unflatten(found[: len(made)], segments.made_form),
        tree_unflatten(found[len(made) :], segments.state_form),
    )


def _usual_length(steps: int) -> int:
    """Return half of the square root of T, 1 at least.

    The states between segments of k steps are T / k times S numbers a neuron, and a segment's insides k times some 4 S:
    together they are fewest at that k.
    """
    return max(1, round(math.sqrt(steps) / 2))


@dataclass
class _Segments:
    """What the backward needs.

    Attributes:
        run: See :func:`in_segments`.
        form: Of the inputs.
        state_form: Of the states, once a segment has run; that before the first one may be another.
        bounds: First step of each segment, and the one after its last.
        casts: Device, dtype of the mixed precision that is on.
        made_form: Of the outputs.
        weights: With a gradient, by their identity.
        between: States after each segment but the last, stacked where they are of one shape.
        random: State of the generators before each segment; the same object where no numbers were drawn.
    """

    run: _Run
    form: TreeSpec
    state_form: TreeSpec
    bounds: list[tuple[int, int]]
    casts: list[tuple[str, torch.dtype]]
    made_form: TreeSpec | None = None
    start_form: TreeSpec = field(init=False)
    weights: dict[int, Tensor] = field(default_factory=dict)
    between: list[Any] = field(default_factory=list)
    random: list[tuple[Tensor, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start_form = self.state_form

    def forth(self, given: Sequence[Any], started: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Run all segments; return the leaves of the outputs, and of the state after the last step."""
        made: list[Any] = []
        state: Sequence[Any] = [_detached(each) for each in started]
        for n, (begin, end) in enumerate(self.bounds):
            self._remember_random(given)
            with torch.set_grad_enabled(n < 2), self._cast():
                since = _sequence_number() if n < 2 else 0
                parts = [_detached(each, begin, end) for each in given]
                form = self.start_form if n == 0 else self.state_form
                out, after = self.run(tree_unflatten(parts, self.form), tree_unflatten(state, form))
                outs, self.made_form = tree_flatten(out)
                afters, self.state_form = tree_flatten(after)
                if n < 2:
                    _find_weights([*outs, *afters], since, self.weights)
            with torch.no_grad():
                made = made or [_room(each, end - begin, self.bounds[-1][1]) for each in outs]
                for whole, each in zip(made, outs, strict=True):
                    if isinstance(each, Tensor):
                        whole[begin:end] = each
                state = self._keep(n, afters)
            del out, after, outs, afters
        return made, list(state)

    def back(
        self, given: Sequence[Any], started: Sequence[Any], wanted: Sequence[bool], gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Return the gradients of inputs, of the state before the first step, and of the weights."""
        wants_given, wants_start = wanted[: len(given)], wanted[len(given) : len(given) + len(started)]
        weights = list(self.weights.values())
        by_weight = [torch.zeros_like(each) for each in weights]
        by_given = [torch.empty_like(x) if want else None for x, want in zip(given, wants_given, strict=True)]
        number = len(gradients) - self.state_form.num_leaves
        by_out, by_after = gradients[:number], list(gradients[number:])
        for n in reversed(range(len(self.bounds))):
            begin, end = self.bounds[n]
            form = self.state_form if n else self.start_form
            before = [each[n - 1] for each in self.between] if n else started
            wants = wants_start if not n else [isinstance(x, Tensor) and x.is_floating_point() for x in before]
            with torch.enable_grad(), self._cast(), _generators(*self.random[n]):
                parts = [_detached(x, begin, end, w) for x, w in zip(given, wants_given, strict=True)]
                state = [_detached(x, wanted=w) for x, w in zip(before, wants, strict=True)]
                out, after = self.run(tree_unflatten(parts, self.form), tree_unflatten(state, form))
            outs = zip(tree_flatten(out)[0], (x if x is None else x[begin:end] for x in by_out), strict=True)
            roots = [*outs, *zip(tree_flatten(after)[0], by_after, strict=True)]
            roots = [(x, g) for x, g in roots if isinstance(x, Tensor) and x.requires_grad and g is not None]
            inputs = [x for x in (*parts, *state) if isinstance(x, Tensor) and x.requires_grad] + weights
            found = iter(
                torch.autograd.grad([x for x, _ in roots], inputs, [g for _, g in roots], allow_unused=True)
                if roots
                else [None] * len(inputs)
            )
            del out, after, outs, roots
            for whole in by_given:
                if whole is not None:
                    part = next(found)
                    whole[begin:end] = 0 if part is None else part
            by_after = [next(found) if want else None for want in wants]
            for total, each in zip(by_weight, found, strict=True):
                if each is not None:
                    total += each
        return [*by_given, *by_after, *by_weight]

    def _keep(self, n: int, after: Sequence[Any]) -> Sequence[Any]:
        """Keep the state after a segment, and return it as it is kept."""
        last = len(self.bounds) - 1
        if n == last:
            return [_detached(each) for each in after]
        if not n:
            self.between = [_Kept(each, last) for each in after]
        for kept, each in zip(self.between, after, strict=True):
            kept.put(n, each)
        return [kept[n] for kept in self.between]

    def _remember_random(self, given: Sequence[Any]) -> None:
        state = torch.get_rng_state()
        devices = get_device_states(*(each for each in given if isinstance(each, Tensor) and not each.is_cpu))
        before = self.random[-1] if self.random else None
        same = before is not None and torch.equal(before[0], state) and not devices[0]
        self.random.append(before if before is not None and same else (state, devices))

    @contextmanager
    def _cast(self) -> Iterator[None]:
        with ExitStack() as stack:
            for kind, dtype in self.casts:
                # A weight that is cast without a graph would be used by what runs later.
                stack.enter_context(torch.autocast(kind, dtype, cache_enabled=False))
            yield


class _Kept:
    """A leaf of the states after each segment, in one tensor where they are of one shape and dtype."""

    def __init__(self, first: Any, number: int) -> None:
        is_tensor = isinstance(first, Tensor)
        self.stack = first.new_empty(number, *first.shape, requires_grad=False) if is_tensor else None
        self.others: dict[int, Any] = {}

    def put(self, n: int, value: Any) -> None:
        stack = self.stack
        if (
            stack is None
            or not isinstance(value, Tensor)
            or (value.shape, value.dtype) != (stack.shape[1:], stack.dtype)
        ):
            self.others[n] = _detached(value)
        else:
            stack[n] = value.detach()

    def __getitem__(self, n: int) -> Any:
        return self.others[n] if n in self.others or self.stack is None else self.stack[n]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, segments: _Segments, made: list[Any], after: list[Any], *inputs: Any) -> tuple[Any, ...]:
        tensors = [each if isinstance(each, Tensor) else None for each in inputs]
        ctx.save_for_backward(*tensors)
        ctx.others = [None if isinstance(each, Tensor) else each for each in inputs]
        ctx.segments = segments
        ctx.set_materialize_grads(False)
        return (*made, *after)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        segments: _Segments = ctx.segments
        inputs = [o if x is None else x for x, o in zip(ctx.saved_tensors, ctx.others, strict=True)]
        wanted, own = ctx.needs_input_grad[3:], len(inputs) - len(segments.weights)
        number = segments.form.num_leaves
        found = segments.back(inputs[:number], inputs[number:own], wanted, gradients)
        return None, None, None, *found


def _detached(x: Any, begin: int | None = None, end: int | None = None, wanted: bool = False) -> Any:
    """Return some steps of a tensor without its graph; anything else as it is."""
    if not isinstance(x, Tensor):
        return x
    return (x.detach() if begin is None else x.detach()[begin:end]).requires_grad_(wanted)


def _room(part: Any, steps: int, total: int) -> Any:
    """Return memory for the outputs of all steps, given those of a segment."""
    if not isinstance(part, Tensor):
        return part
    if not part.dim() or len(part) != steps:
        raise SpikingError(f"a segment of {steps} steps gave outputs of the shape {list(part.shape)}; give [t, B, ...]")
    return part.new_empty(total, *part.shape[1:])


def _sequence_number() -> int:
    """Return a number that nodes of the graph made later are not below."""
    node: Any = torch.ones((), requires_grad=True).clone().grad_fn
    return int(node._sequence_nr())


def _find_weights(results: Sequence[Any], since: int, weights: dict[int, Tensor]) -> None:
    """Add the leaves with a gradient that results depend on."""
    made = [each for each in results if isinstance(each, Tensor) and each.requires_grad]
    weights.update({id(each): each for each in made if each.grad_fn is None})
    waiting: list[Any] = [each.grad_fn for each in made if each.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            weights[id(variable)] = variable
        elif node._sequence_nr() < since:
            raise SpikingError(
                f"a segment uses a tensor with a gradient that was computed outside ({node.name()}); compute it inside "
                "of the function that runs the steps, or pass it in x or in the state"
            )
        for other, _ in node.next_functions:
            if other is not None and other not in seen:
                seen.add(other)
                waiting.append(other)


def _autocasts(given: Sequence[Any]) -> list[tuple[str, torch.dtype]]:
    """Return devices and dtypes of the mixed precision that is on."""
    kinds = {each.device.type for each in given if isinstance(each, Tensor)} | {"cpu"}
    return [
        (kind, torch.get_autocast_dtype(kind))
        for kind in sorted(kinds)
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    ]


@contextmanager
def _generators(state: Tensor, devices: tuple[list[int], list[Tensor]]) -> Iterator[None]:
    """Draw the random numbers of an earlier time inside the block; restore the present generators after it."""
    with torch.random.fork_rng(devices[0]):
        torch.set_rng_state(state)
        set_device_states(*devices)
        yield
