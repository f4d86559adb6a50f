"""The equations of spiking neurons, once: surrogate gradients and the LIF step.

Everything here is pure: state goes in and comes out. The built-in ``torch`` backend is these
functions in a loop, and is the oracle the other backends are compared with.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from neurozoo.core.interfaces import LIFSpec, Surrogate

__all__ = ["lif_charge", "lif_reset", "lif_step", "spike", "surrogate_gradient"]


def surrogate_gradient(u: Tensor, surrogate: Surrogate, alpha: float) -> Tensor:
    """The derivative used for a spike's step function, at distance ``u`` above the threshold.

    - ``atan``: ``(alpha/2) / (1 + (pi alpha u / 2)^2)`` (SpikingJelly,
      ``activation_based/surrogate.py``, ATan).
    - ``sigmoid``: ``alpha s (1 - s)`` with ``s = sigmoid(alpha u)`` (Zenke & Vogels 2021, there without
      the factor alpha).
    - ``superspike``: ``1 / (1 + alpha |u|)^2`` (Zenke & Ganguli 2018).

    Args:
        u: Membrane minus threshold, any shape, dimensionless.
        surrogate: Name of the function.
        alpha: Its steepness, dimensionless.

    Returns:
        The derivative, shape and dtype of ``u``.
    """
    if surrogate == "atan":
        return alpha / 2 / (1 + (math.pi / 2 * alpha * u).pow(2))
    if surrogate == "sigmoid":
        s = torch.sigmoid(alpha * u)
        return alpha * s * (1 - s)
    return 1 / (1 + alpha * u.abs()).pow(2)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate, alpha: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (u >= 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return surrogate_gradient(u, ctx.surrogate, ctx.alpha) * grad_outputs[0], None, None


def spike(u: Tensor, surrogate: Surrogate = "atan", alpha: float = 2.0) -> Tensor:
    """1 where the membrane has reached the threshold (``u >= 0``), else 0; surrogate backward.

    Args:
        u: Membrane minus threshold, any shape, dimensionless.
        surrogate: The backward's function, see :func:`surrogate_gradient`.
        alpha: Its steepness, dimensionless.

    Example:
        >>> spike(torch.tensor([-0.1, 0.0, 0.1]))
        tensor([0., 1., 1.])
    """
    return _Spike.apply(u, surrogate, alpha)  # type: ignore[no-any-return,no-untyped-call]


def lif_charge(v: Tensor, current: Tensor, tau: float, decay_input: bool, rest: float) -> Tensor:
    """The membrane before the reset, ``h = v + (x - (v - r))/tau`` or ``v - (v - r)/tau + x``.

    Args:
        v: Membrane after the last step's reset, dimensionless.
        current: Input of this step, shape of ``v``.
        tau: Membrane time constant, in steps; larger than 1, infinite for no leak.
        decay_input: Whether the input is divided by ``tau`` too.
        rest: The value ``r`` to which the membrane decays.
    """
    leak = v - rest if rest != 0.0 else v
    return v + (current - leak) / tau if decay_input else v - leak / tau + current


def lif_reset(h: Tensor, spikes: Tensor, threshold: Tensor | float, v_reset: float | None) -> Tensor:
    """The membrane after the reset: hard to ``v_reset``, or soft (None) by the threshold."""
    if v_reset is None:
        return h - spikes * threshold
    return (1.0 - spikes) * h + spikes * v_reset


def lif_step(current: Tensor, v: Tensor, threshold: Tensor | float, spec: LIFSpec) -> tuple[Tensor, Tensor]:
    """One time step: charge, spike, reset.

    Args:
        current: Input of this step, dimensionless.
        v: Membrane after the last step's reset, shape of ``current``.
        threshold: A float, or a tensor that broadcasts against ``current``.
        spec: What neuron it is.

    Returns:
        Spikes (0 or 1, dtype of ``current``) and the membrane after the reset.
    """
    h = lif_charge(v, current, spec.tau, spec.decay_input, spec.rest)
    s = spike(h - threshold, spec.surrogate, spec.alpha)
    return s, lif_reset(h, s.detach() if spec.detach_reset else s, threshold, spec.v_reset)
