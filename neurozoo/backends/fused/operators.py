"""The fused loop as operators of torch: it is one node of a graph, in eager mode and compiled.

The backward operator computes the states a second time from the currents. Nothing is kept for it but what came in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from neurozoo.backends.fused.memory import Call
from neurozoo.backends.fused.pages import empty
from neurozoo.core.kinds import KINDS
from neurozoo.core.neuron import NeuronSpec

__all__ = ["Kernels", "Operators", "plain", "register", "spec_of", "text_of", "untraced"]


def text_of(spec: NeuronSpec) -> str:
    """A specification as an operator of torch takes it."""
    return json.dumps({"kind": spec.kind, **asdict(spec)})


@cache
def spec_of(text: str) -> NeuronSpec:
    """The specification that :func:`text_of` wrote."""
    fields = json.loads(text)
    return KINDS[fields.pop("kind")](**fields)


class Kernels(Protocol):
    """What a backend runs."""

    def forward(self, call: Call, out: Tensor, after: Tensor) -> None:
        """Write outputs ``[T, B, ...]`` and the last states ``[S, B, ...]``."""

    def backward(
        self,
        call: Call,
        grad_out: Tensor | None,
        grad_after: Tensor | None,
        grad_currents: Tensor,
        grad_state: Tensor,
        learn: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor]:
        """Write the gradients of currents and states, and return those of threshold and parameters.

        One that is not wanted has no elements; of the last two, ``learn`` says which are.
        """


class Operators(NamedTuple):
    """What :func:`register` made.

    Attributes:
        scan: The forward as an operator, which torch can trace.
        scan_backward: The backward likewise.
        eager_scan: The forward with its gradient for calls that nobody traces: to call an operator takes longer than a
            few neurons do.
        unseen_scan: The forward as a function, without a gradient.
    """

    scan: Any
    scan_backward: Any
    eager_scan: Any
    unseen_scan: Any


def untraced() -> bool:
    """Whether no compilation, tracing, transform, profiler or interception of torch's calls is active.

    If one is, it must see the operator.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or is_in_torch_dispatch_mode()
        or torch._C._len_torch_function_stack() > 0
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or torch.autograd.profiler._is_profiler_enabled
    )


_OWN = frozenset((Tensor, torch.nn.Parameter))


def plain(*tensors: object) -> bool:
    """Whether each is a tensor of torch's own whose numbers are in its memory, as they are."""
    for x in tensors:  # noqa: SIM110 - by all() it takes half as long again
        if type(x) not in _OWN or x.is_neg() or x._is_zerotensor():  # type: ignore[attr-defined]
            return False
    return True


_LIBRARIES: list[object] = []  # torch forgets the operators of one that is gone


def register(namespace: str, kernels: Kernels) -> Operators:
    """Make ``torch.ops.NAMESPACE.scan`` and ``scan_backward`` of a backend's kernels, for autograd and tracing."""

    def scan(
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        params: Tensor | None,
        numbers: Sequence[float],
        neuron: str,
    ) -> tuple[Tensor, Tensor]:
        """All time steps of a neuron.

        Args:
            currents: ``[T, B, ...]``, of a dtype and on a device that the kernels take, T >= 1; dimensionless.
            state: States to start from, ``[S, B, ...]``; at rest if None.
            threshold: 0-d, or with as many axes as the currents, each of their size or 1; of their dtype.
            params: ``[P, *shape]``, broadcast against one sample's neurons; of the currents' dtype. None if numbers.
            numbers: P parameters, not used where ``params`` has them, and the S states at rest.
            neuron: See :func:`text_of`.

        Returns:
            Outputs ``[T, B, ...]`` and the last states ``[S, B, ...]``.
        """
        spec = spec_of(neuron)
        out = empty(currents, currents.shape)
        after = empty(currents, (len(spec.states), *currents.shape[1:]))
        kernels.forward(Call(currents, state, threshold, params, numbers, spec), out, after)
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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of currents, states, threshold and parameters.

        Args:
            grad_out: Of the outputs; None where they are not used.
            grad_after: Of the last states; likewise.
            currents: As for the forward, and so for all up to ``neuron``.
            state: See there.
            threshold: See there.
            params: See there.
            numbers: See there.
            neuron: See there.
            wanted: For each of the four whether it is; one that is not has no elements.
        """
        spec = spec_of(neuron)
        shapes = (currents.shape, (len(spec.states), *currents.shape[1:]))
        grad_currents, grad_state = (
            empty(currents, shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=False)
        )
        grad_threshold, grad_params = kernels.backward(
            Call(currents, state, threshold, params, numbers, spec),
            grad_out,
            grad_after,
            grad_currents,
            grad_state,
            (wanted[2], wanted[3]),
        )
        if params is not None and wanted[3]:
            grad_params = grad_params.reshape(params.shape)
        return grad_currents, grad_state, grad_threshold, grad_params

    # Not by torch.library.custom_op, whose operators import torch.compile when they are first called.
    library: Any = torch.library.Library(namespace, "FRAGMENT")  # type: ignore[no-untyped-call]
    for function, fake in ((scan, _fake), (scan_backward, _fake_backward)):
        name = function.__name__
        schema = torch.library.infer_schema(function, mutates_args=())
        library.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
        library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{namespace}::{name}", fake, lib=library)
    made = getattr(torch.ops, namespace)
    backward = made.scan_backward.default
    torch.library.register_autograd(f"{namespace}::scan", _gradients_by(backward), setup_context=_remember, lib=library)
    torch.library.register_autograd(f"{namespace}::scan_backward", _no_second_derivative, lib=library)
    _LIBRARIES.append(library)
    return Operators(made.scan.default, backward, _eager(scan, scan_backward, backward), scan)


def _eager(scan: Any, scan_backward: Any, traced_backward: Any) -> Any:
    """The forward as a function of autograd's."""

    def untraced_backward(*arguments: Any) -> Any:
        # A second derivative, which is an error, is the operator's.
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
    currents: Tensor, state: Tensor | None, threshold: Tensor, params: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor]:
    states = len(spec_of(rest[1]).states)
    return currents.new_empty(currents.shape), currents.new_empty((states, *currents.shape[1:]))


def _fake_backward(
    grad_out: Tensor | None,
    grad_after: Tensor | None,
    currents: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    params: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, ...]:
    _, neuron, wanted = rest
    shapes: tuple[Sequence[int], ...] = (
        currents.shape,
        (len(spec_of(neuron).states), *currents.shape[1:]),
        threshold.shape,
        () if params is None else params.shape,
    )
    return tuple(currents.new_empty(shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=True))


def _remember(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    *tensors, ctx.numbers, ctx.neuron = inputs
    ctx.save_for_backward(*tensors)
    ctx.set_materialize_grads(False)


def _no_second_derivative(ctx: Any, *gradients: Tensor | None) -> NoReturn:
    raise RuntimeError("a fused neuron's gradients have no gradients of their own; use the backend torch for those")


def _gradients_by(backward: Any) -> Callable[..., tuple[Tensor | None, ...]]:
    def gradients(ctx: Any, grad_out: Tensor | None, grad_after: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad_out is None and grad_after is None:
            return (None,) * 6
        wanted = list(ctx.needs_input_grad[:4])
        wanted[2] &= spec_of(ctx.neuron).spiking  # nothing else has a threshold
        found = backward(grad_out, grad_after, *ctx.saved_tensors, ctx.numbers, ctx.neuron, wanted)
        return (*(gradient if want else None for gradient, want in zip(found, wanted, strict=True)), None, None)

    return gradients
