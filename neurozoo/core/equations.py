"""The equations of spiking neurons, each once: surrogate gradients, spike, charge, reset."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

__all__ = ["SURROGATES", "Surrogate", "Tie", "above", "charge", "reset", "spike", "surrogate_gradient"]

Surrogate = Literal["atan", "sigmoid", "superspike", "box", "triangle"]
SURROGATES: tuple[Surrogate, ...] = get_args(Surrogate)
Tie = Literal["fires", "silent"]
"""Whether a membrane exactly at its threshold fires."""


def surrogate_gradient(u: Tensor, surrogate: Surrogate, alpha: float) -> Tensor:
    """Return the derivative used for a spike's step function, at distance ``u`` above the threshold.

    - ``atan``: ``(alpha/2) / (1 + (pi alpha u / 2)^2)`` (SpikingJelly,
      ``activation_based/surrogate.py``, ATan).
    - ``sigmoid``: ``alpha s (1 - s)`` with ``s = sigmoid(alpha u)`` (Zenke & Vogels 2021, there without
      the factor alpha).
    - ``superspike``: ``1 / (1 + alpha |u|)^2`` (Zenke & Ganguli 2018).
    - ``box``: 1 where ``-alpha/2 < u <= alpha/2``, else 0 (Bittar & Garner 2022, section 2.3, with alpha 1).
    - ``triangle``: ``alpha max(0, 1 - |u|)`` (Bellec et al. 2018, equation 5, with alpha 0.3).

    Args:
        u: Membrane minus threshold, any shape, dimensionless.
        surrogate: Name of the function.
        alpha: Its steepness (``box``: its width; ``triangle``: its height), dimensionless.
    """
    if surrogate == "atan":
        return alpha / 2 / (1 + (math.pi / 2 * alpha * u).pow(2))
    if surrogate == "sigmoid":
        s = torch.sigmoid(alpha * u)
        return alpha * s * (1 - s)
    if surrogate == "superspike":
        return 1 / (1 + alpha * u.abs()).pow(2)
    if surrogate == "box":
        return ((u > -alpha / 2) & (u <= alpha / 2)).to(u.dtype)
    return alpha * (1 - u.abs()).clamp(min=0)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate, alpha: float, tie: Tie) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate, ctx.alpha = surrogate, alpha
        return (u >= 0 if tie == "fires" else u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (u,) = ctx.saved_tensors
        return surrogate_gradient(u, ctx.surrogate, ctx.alpha) * grad_outputs[0], None, None, None


def spike(u: Tensor, surrogate: Surrogate = "atan", alpha: float = 2.0, tie: Tie = "fires") -> Tensor:
    """Return 1 where the membrane has reached the threshold (``u >= 0``), else 0; surrogate backward.

    Args:
        u: Membrane minus threshold, any shape, dimensionless.
        surrogate: The backward's function, see :func:`surrogate_gradient`.
        alpha: Its steepness, dimensionless.
        tie: Whether a membrane exactly at the threshold fires.

    Example:
        >>> spike(torch.tensor([-0.1, 0.0, 0.1]))
        tensor([0., 1., 1.])
    """
    return _Spike.apply(u, surrogate, alpha, tie)  # type: ignore[no-any-return,no-untyped-call]


def charge(v: Tensor, current: Tensor, tau: Tensor | float, decay_input: bool, rest: Tensor | float) -> Tensor:
    """Return the membrane before the reset, ``h = v + (x - (v - r))/tau`` or ``v - (v - r)/tau + x``.

    Args:
        v: Membrane after the last step's reset, dimensionless.
        current: Input of this step, shape of ``v``.
        tau: Membrane time constant, in steps; larger than 1, infinite for no leak.
        decay_input: Whether the input is divided by ``tau`` too.
        rest: Value ``r`` to which the membrane decays.
    """
    leak = above(v, rest)
    return v + (current - leak) / tau if decay_input else v - leak / tau + current


def above(v: Tensor, rest: Tensor | float) -> Tensor:
    """Return ``v - rest``, without the operation where the rest is the number 0."""
    return v - rest if isinstance(rest, Tensor) or rest != 0.0 else v


def reset(h: Tensor, spikes: Tensor, threshold: Tensor | float, v_reset: Tensor | float | None) -> Tensor:
    """Return the membrane after the reset: hard to ``v_reset``, or soft (None) by the threshold."""
    if v_reset is None:
        return h - spikes * threshold
    return (1.0 - spikes) * h + spikes * v_reset
