"""The fused loop as operators of torch: it is one node of a graph, in eager mode and compiled.

The backward operator computes the membranes anew from the currents. Nothing is kept for it but what came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from neurozoo.backends.fused.memory import Call
from neurozoo.core.interfaces import LIFSpec

__all__ = ["Kernels", "Numbers", "Operators", "plain", "register", "untraced"]


class Numbers(NamedTuple):
    """The fields of a :class:`~neurozoo.core.interfaces.LIFSpec`, as an operator of torch takes them."""

    tau: float
    decay_input: bool
    v_reset: float | None
    detach_reset: bool
    surrogate: str
    alpha: float

    @classmethod
    def of(cls, spec: LIFSpec) -> Numbers:
        """Those of a spec; what the user gave as whole numbers is made real."""
        v_reset = None if spec.v_reset is None else float(spec.v_reset)
        return cls(float(spec.tau), spec.decay_input, v_reset, spec.detach_reset, spec.surrogate, float(spec.alpha))

    @property
    def rest(self) -> float:
        """The membrane potential without input."""
        return 0.0 if self.v_reset is None else self.v_reset


class Kernels(Protocol):
    """What a backend runs."""

    def forward(self, call: Call, neuron: Numbers, spikes: Tensor, v: Tensor) -> None:
        """Write spikes ``[T, B, ...]`` and the last membranes ``[B, ...]``."""

    def backward(
        self,
        call: Call,
        neuron: Numbers,
        grad_spikes: Tensor | None,
        grad_v: Tensor | None,
        grad_currents: Tensor,
        grad_state: Tensor,
        learn: bool,
    ) -> Tensor:
        """Write the gradients of currents and state, and return the threshold's; without elements if not wanted."""


class Operators(NamedTuple):
    """What :func:`register` made: forward and backward, and the forward as a function, which torch does not see."""

    lif: Any
    lif_backward: Any
    unseen_lif: Any


def untraced() -> bool:
    """Whether nobody compiles, traces, transforms, profiles or intercepts torch's calls, and has to see what is done by
    none of them."""
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
    """Make ``torch.ops.NAMESPACE.lif`` and ``lif_backward`` of a backend's kernels, for autograd and tracing."""

    def lif(
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        tau: float,
        decay_input: bool,
        v_reset: float | None,
        detach_reset: bool,
        surrogate: str,
        alpha: float,
    ) -> tuple[Tensor, Tensor]:
        """All time steps of a LIF neuron.

        Args:
            currents: ``[T, B, ...]``, of a dtype and on a device that the kernels take, T >= 1; dimensionless.
            state: Membranes to start from, ``[B, ...]``; at rest if None.
            threshold: 0-d, or with as many axes as the currents, each of their size or 1; of their dtype.
            tau: See :class:`neurozoo.core.interfaces.LIFSpec`, as for the next five.
            decay_input: As said.
            v_reset: As said.
            detach_reset: As said.
            surrogate: As said.
            alpha: As said.

        Returns:
            Spikes ``[T, B, ...]`` and the last membranes ``[B, ...]``.
        """
        spikes, v = currents.new_empty(currents.shape), currents.new_empty(currents.shape[1:])
        neuron = Numbers(tau, decay_input, v_reset, detach_reset, surrogate, alpha)
        kernels.forward(Call(currents, state, threshold), neuron, spikes, v)
        return spikes, v

    def lif_backward(
        grad_spikes: Tensor | None,
        grad_v: Tensor | None,
        currents: Tensor,
        state: Tensor | None,
        threshold: Tensor,
        tau: float,
        decay_input: bool,
        v_reset: float | None,
        detach_reset: bool,
        surrogate: str,
        alpha: float,
        wanted: Sequence[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of currents, state and threshold.

        Args:
            grad_spikes: Of the spikes; None where they are not used.
            grad_v: Of the last membranes; likewise.
            currents: As for the forward, and so for all up to ``alpha``.
            state: As said.
            threshold: As said.
            tau: As said.
            decay_input: As said.
            v_reset: As said.
            detach_reset: As said.
            surrogate: As said.
            alpha: As said.
            wanted: For each of the three whether it is; one that is not has no elements.
        """
        grad_currents = currents.new_empty(currents.shape if wanted[0] else 0)
        grad_state = currents.new_empty(currents.shape[1:] if wanted[1] else 0)
        neuron = Numbers(tau, decay_input, v_reset, detach_reset, surrogate, alpha)
        grad_threshold = kernels.backward(
            Call(currents, state, threshold),
            neuron,
            grad_spikes,
            grad_v,
            grad_currents,
            grad_state,
            wanted[2],
        )
        return grad_currents, grad_state, grad_threshold

    # Not by torch.library.custom_op, whose operators import torch.compile when they are first called.
    library: Any = torch.library.Library(namespace, "FRAGMENT")  # type: ignore[no-untyped-call]
    for function, fake in ((lif, _fake), (lif_backward, _fake_backward)):
        name = function.__name__
        schema = torch.library.infer_schema(function, mutates_args=())
        library.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
        library.impl(name, function, "CompositeExplicitAutograd")
        torch.library.register_fake(f"{namespace}::{name}", fake, lib=library)
    made = getattr(torch.ops, namespace)
    backward = made.lif_backward.default
    torch.library.register_autograd(f"{namespace}::lif", _gradients_by(backward), setup_context=_remember, lib=library)
    torch.library.register_autograd(f"{namespace}::lif_backward", _no_second_derivative, lib=library)
    _LIBRARIES.append(library)
    return Operators(made.lif.default, backward, lif)


def _fake(currents: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return currents.new_empty(currents.shape), currents.new_empty(currents.shape[1:])


def _fake_backward(
    grad_spikes: Tensor | None,
    grad_v: Tensor | None,
    currents: Tensor,
    state: Tensor | None,
    threshold: Tensor,
    *rest: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    wanted = rest[-1]
    shapes = currents.shape, currents.shape[1:], threshold.shape
    first, second, third = (
        currents.new_empty(shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=True)
    )
    return first, second, third


def _remember(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
    currents, state, threshold, *ctx.neuron = inputs
    ctx.save_for_backward(currents, state, threshold)
    ctx.set_materialize_grads(False)


def _no_second_derivative(ctx: Any, *gradients: Tensor | None) -> NoReturn:
    raise RuntimeError("a fused neuron's gradients have no gradients of their own; take the backend torch for those")


def _gradients_by(backward: Any) -> Callable[..., tuple[Tensor | None, ...]]:
    def gradients(ctx: Any, grad_spikes: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 6
        if grad_spikes is None and grad_v is None:
            return (None, None, None, *nothing)
        wanted = list(ctx.needs_input_grad[:3])
        _, _, v_reset, detach, *_ = ctx.neuron
        # Without the spikes' gradient a threshold is heard of through the reset alone, which a detached hard one hides.
        wanted[2] &= grad_spikes is not None or v_reset is None or not detach

        sums: tuple[Tensor, ...] = backward(grad_spikes, grad_v, *ctx.saved_tensors, *ctx.neuron, wanted)
        found = [gradient if want else None for gradient, want in zip(sums, wanted, strict=True)]
        return (*found, *nothing)

    return gradients
