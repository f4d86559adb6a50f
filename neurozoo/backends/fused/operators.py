"""The fused loop as operators of torch: one node of a graph, in eager mode and compiled.

The backward operator recomputes the states from the currents; only the inputs are saved for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from neurozoo.backends.fused.memory import Call
from neurozoo.backends.fused.pages import empty
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import NeuronSpec

__all__ = ["Gradients", "Operators", "plain", "register", "spec_of", "text_of", "untraced"]


def text_of(spec: NeuronSpec) -> str:
    """Serialise a specification as the text argument of an operator."""
    return json.dumps({"kind": spec.kind, **asdict(spec)})


@cache
def spec_of(text: str) -> NeuronSpec:
    """Return the specification that :func:`text_of` serialised."""
    fields = json.loads(text)
    return KINDS[fields.pop("kind")](**fields)


class Gradients(NamedTuple):
    """The gradients of a backward kernel; those that are not needed have no elements.

    Attributes:
        out: Of the outputs ``[T, B, ...]``, or None.
        after: Of the last states ``[S, B, ...]``, or None.
        currents: Of the currents ``[T, B, ...]``, to be written; ``[1, B, ...]`` of T steps if they are to be summed.
        state: Of the states to start from ``[S, B, ...]``, to be written.
        learn: Whether those of threshold and parameters are needed.
    """

    out: Tensor | None
    after: Tensor | None
    currents: Tensor
    state: Tensor
    learn: tuple[bool, bool]


Forward = Callable[[Call, Tensor, Tensor], None]
"""Writes the outputs ``[T, B, ...]`` and the last states ``[S, B, ...]`` of a call."""
Backward = Callable[[Call, Gradients], tuple[Tensor, Tensor]]
"""Writes the gradients of currents and states, and returns those of threshold and parameters."""


class Operators(NamedTuple):
    """The operators of :func:`register`.

    Attributes:
        scan: The forward as an operator, for tracing.
        scan_backward: The backward as an operator.
        eager_scan: The forward with its gradient, for calls that are not traced: the overhead of an operator is larger
            than the time of a few neurons.
        unseen_scan: The forward as a function, without a gradient.
    """

    scan: Any
    scan_backward: Any
    eager_scan: Any
    unseen_scan: Any


def untraced(*, profiled: bool = False) -> bool:
    """Whether no compilation, tracing, transform, profiler or interception of torch's calls is active.

    If one is, it must see the operator.

    Args:
        profiled: Whether a profiler may be active.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or is_in_torch_dispatch_mode()
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or (torch.autograd.profiler._is_profiler_enabled and not profiled)
    )


_OWN = frozenset((Tensor, torch.nn.Parameter))


def plain(*tensors: object) -> bool:
    """Whether each is a tensor of torch's own class whose memory has its values."""
    for x in tensors:  # noqa: SIM110 - by all() it takes half as long again
        if type(x) not in _OWN or x.is_neg() or x._is_zerotensor():  # type: ignore[attr-defined]
            return False
    return True


_LIBRARIES: list[object] = []  # torch drops the operators of a library that is collected


def register(namespace: str, forward: Forward, backward: Backward) -> Operators:
    """Make ``torch.ops.NAMESPACE.scan`` and ``scan_backward`` of a backend's kernels, for autograd and tracing."""

    def scan(
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        numbers: Sequence[float],
        neuron: str,
        steps: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """All time steps of a neuron.

        Args:
            currents: ``[T, B, ...]``, T >= 1, of a dtype and device that the kernels support; dimensionless.
            state: States to start from, ``[S, B, ...]``; at rest if None.
            threshold: 0-d, or with as many axes as the currents, each of their size or 1; of their dtype.
            params: ``[P, *shape]``, broadcast against one sample's neurons; of the currents' dtype. None if numbers.
            numbers: P parameters, unused if ``params`` is given, and the S states at rest.
            neuron: See :func:`text_of`.
            steps: T, if currents ``[1, B, ...]`` are held; else 0.

        Returns:
            Outputs ``[T, B, ...]`` and the last states ``[S, B, ...]``.
        """
        spec, whole = spec_of(neuron), _whole(currents, steps)
        out = empty(currents, whole.shape)
        after = empty(currents, (len(spec.states), *currents.shape[1:]))
        forward(Call(whole, state, threshold, params, numbers, spec), out, after)
        return out, after

    def scan_backward(
        grad_out: Tensor | None,
        grad_after: Tensor | None,
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        numbers: Sequence[float],
        neuron: str,
        wanted: Sequence[bool],
        steps: int = 0,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of currents, states, threshold and parameters.

        Args:
            grad_out: Gradient of the outputs; None if they are not used. The same for ``grad_after``, the last states.
            currents: See the forward, also for all up to ``neuron``.
            wanted: Whether each of the four is needed; one that is not has no elements.
            steps: See the forward.
        """
        spec = spec_of(neuron)
        shapes = (currents.shape, (len(spec.states), *currents.shape[1:]))
        grad_currents, grad_state = (
            empty(currents, shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=False)
        )
        gradients = Gradients(grad_out, grad_after, grad_currents, grad_state, (wanted[2], wanted[3]))
        call = Call(_whole(currents, steps), state, threshold, params, numbers, spec)
        grad_threshold, grad_params = backward(call, gradients)
        if params is not None and wanted[3]:
            grad_params = grad_params.reshape(params.shape)
        return grad_currents, grad_state, grad_threshold, grad_params

    # Not torch.library.custom_op, whose operators import torch.compile at their first call.
    library: Any = torch.library.Library(namespace, "FRAGMENT")  # type: ignore[no-untyped-call]
    for function, fake in ((scan, _fake), (scan_backward, _fake_backward)):
        name = function.__name__
        schema = torch.library.infer_schema(function, mutates_args=())
        library.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
        library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{namespace}::{name}", fake, lib=library)
    made = getattr(torch.ops, namespace)
    traced = made.scan_backward.default
    torch.library.register_autograd(f"{namespace}::scan", _gradients_by(traced), setup_context=_remember, lib=library)
    torch.library.register_autograd(f"{namespace}::scan_backward", _no_second_derivative, lib=library)
    _LIBRARIES.append(library)
    return Operators(made.scan.default, traced, _eager(scan, scan_backward, traced), scan)


def _eager(scan: Any, scan_backward: Any, traced_backward: Any) -> Any:
    """Return the forward as a function of autograd."""

    def untraced_backward(*arguments: Any) -> Any:
        # A second derivative goes through the operator, which raises.
        return (scan_backward if not torch.is_grad_enabled() and untraced() else traced_backward)(*arguments)

    gradients = _gradients_by(untraced_backward)

    class Eager(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            _remember(ctx, inputs, None)
            return scan(*inputs)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Any) -> Any:
            return gradients(ctx, *grad_outputs)

    return Eager.apply


def _fake(
    currents: Tensor, state: Any, threshold: Any, params: Any, numbers: Any, neuron: str, steps: int = 0
) -> tuple[Tensor, Tensor]:
    states = len(spec_of(neuron).states)
    return currents.new_empty(_whole(currents, steps).shape), currents.new_empty((states, *currents.shape[1:]))


def _whole(currents: Tensor, steps: int) -> Tensor:
    """Return currents of all steps, of one held for ``steps`` if that is not 0."""
    return currents.expand(steps, *currents.shape[1:]) if steps else currents


def _fake_backward(
    grad_out: Any, grad_after: Any, currents: Tensor, state: Any, threshold: Tensor, params: Tensor | None,
    numbers: Any, neuron: str, wanted: Sequence[bool], steps: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    of_state, of_params = (len(spec_of(neuron).states), *currents.shape[1:]), () if params is None else params.shape
    shapes = (currents.shape, of_state, threshold.shape, of_params)
    return tuple(currents.new_empty(shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=True))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    *tensors, ctx.numbers, ctx.neuron, ctx.steps = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _no_second_derivative(ctx: Any, *gradients: Tensor | None) -> NoReturn:
    raise RuntimeError("a fused neuron's gradients have no gradients of their own; use the backend torch for those")


def _gradients_by(backward: Any) -> Callable[..., tuple[Tensor | None, ...]]:
    def gradients(ctx: Any, grad_out: Tensor | None, grad_after: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_out is None and grad_after is None:
            return (None,) * 7
        wanted = list(ctx.needs_input_grad[:4])
        wanted[2] &= spec_of(ctx.neuron).kind != "li"  # the one kind that has no threshold
        found = backward(grad_out, grad_after, *ctx.saved_tensors, ctx.numbers, ctx.neuron, wanted, ctx.steps)
        return (*(gradient if want else None for gradient, want in zip(found, wanted, strict=True)), None, None, None)

    return gradients
