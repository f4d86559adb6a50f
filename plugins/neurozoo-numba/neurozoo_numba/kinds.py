"""Each kind of neuron as two loops over neighbouring neurons: a step, and its adjoint.

Each loop is compiled separately and called for each time step by ``neurozoo_numba.kernels``. A step has the operations
of ``neurozoo.core.kinds`` in the same order, so that spikes equal the oracle's to the bit. The adjoint gets the step's
height ``u`` and the states before it, which the kernel recomputes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from neurozoo_numba.streaming import OPTIONS, loop, written_out

__all__ = ["BY_DIVISION", "BY_PRODUCT", "KERNEL_KINDS", "NO_LEAK", "OTHER_ORDER", "PARAMETERS", "Kind"]

BY_DIVISION, BY_PRODUCT, NO_LEAK = range(3)
"""How a membrane leaks: by 1/rate, by rate, or not at all; ``+ OTHER_ORDER``: the input is added undivided."""
OTHER_ORDER = 4
PARAMETERS = 2
"""Value of ``learn`` with the gradients of parameters; 1 is the threshold's only, 0 none."""


@dataclass(frozen=True)
class Kind:
    """The loops of a kind of neuron.

    Attributes:
        step: ``step(x, level, p, state, out, form)``: advances the states in place and writes ``out``: the output, or
            if ``form`` asks for heights the number that is compared with 0.
        adjoint: ``adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form)``: replaces the gradients ``g`` of
            the states after the step by those before it, writes the gradient ``gx`` of the currents, and adds to those
            of threshold ``gl`` and parameters ``gp``. ``before`` are the states before the step, ``u`` its heights, and
            ``go`` the gradients of the outputs. ``x`` is valid only if parameters are learned.
        states: Number of states.
        parameters: Number of parameters, see ``neurozoo.backends.fused.neuron``.
        recalled: Whether the adjoint needs the states even if no parameter is learned.
        late: Whether a spike resets the membrane in the step after.
    """

    step: Any
    adjoint: Any
    states: int
    parameters: int
    recalled: bool = True
    late: bool = False


def at(p: Any, i: int) -> Any:
    """Parameter of neuron ``i``, whether its own or shared."""
    raise NotImplementedError


@overload(at, jit_options=OPTIONS)
def _at(p, i):  # type: ignore[no-untyped-def]
    if isinstance(p, types.Array):
        return lambda p, i: p[i]
    return lambda p, i: p


@loop
def fires(u, silent, zero, one):  # type: ignore[no-untyped-def]
    """1 where ``u`` reaches 0, or exceeds it if ``silent``; never for nan."""
    return one if (u > zero) | ((u == zero) & (not silent)) else zero


@loop
def leaked(x, rate, leak):  # type: ignore[no-untyped-def]
    """The share of a drive ``x`` that reaches a leaky membrane."""
    return x / rate if leak == BY_DIVISION else x * rate


@written_out
def charging_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``lif``, ``if`` and ``plif``, with the parameters rate and rest."""
    hard, mode, silent, heights, _ = form
    (v,), (rates, rests) = state, p
    zero, one, leak = out.dtype.type(0), out.dtype.type(1), mode % OTHER_ORDER
    for i in range(out.shape[0]):
        rate, rest = at(rates, i), at(rests, i)
        if leak == NO_LEAK:
            h = v[i] + x[i]
        elif mode < OTHER_ORDER:
            h = v[i] + leaked(x[i] - (v[i] - rest), rate, leak)
        else:
            h = v[i] - leaked(v[i] - rest, rate, leak) + x[i]
        u = h - level[i]
        s = fires(u, silent, zero, one)
        out[i] = u if heights else s
        v[i] = (one - s) * h + s * rest if hard else h - s * level[i]


@written_out
def charging_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    hard, mode, silent, cut, learn = form
    (v,), (grad,), (rates, rests), (to_rate, to_rest) = before, g, p, gp
    zero, one, leak = u.dtype.type(0), u.dtype.type(1), mode % OTHER_ORDER
    for i in range(u.shape[0]):
        rate, rest, gv = at(rates, i), at(rests, i), grad[i]
        h, s = u[i] + level[i], fires(u[i], silent, zero, one)
        back = gv * rest - gv * h if hard else -gv * level[i]
        to_u = slope[i] * (go[i] + (zero if cut else back))
        to_h = (gv * (one - s) if hard else gv) + to_u
        part = zero if leak == NO_LEAK else leaked(to_h, rate, leak)
        gx[i] = part if mode < OTHER_ORDER and leak != NO_LEAK else to_h
        grad[i] = to_h - part
        if learn:
            gl[i] = gl[i] - to_u if hard else gl[i] - gv * s - to_u
        if learn >= PARAMETERS:
            if leak != NO_LEAK:
                drive = x[i] - (v[i] - rest) if mode < OTHER_ORDER else rest - v[i]
                to_rate[i] += to_h * drive if leak == BY_PRODUCT else -part * (drive / rate)
            if hard:
                to_rest[i] += gv * s + part


@written_out
def cuba_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``cuba``, with the parameters of the current's and the membrane's decay, gain and rest."""
    hard, mode, silent, heights, _ = form
    (c, v), (alphas, betas, gains, rests) = state, p
    zero, one = out.dtype.type(0), out.dtype.type(1)
    for i in range(out.shape[0]):
        rest, c_new = at(rests, i), at(alphas, i) * c[i] + x[i]
        driving = c_new if mode < OTHER_ORDER else c[i]
        h = (rest + at(betas, i) * (v[i] - rest)) + at(gains, i) * driving
        u = (h if mode < OTHER_ORDER else v[i]) - level[i]
        s = fires(u, silent, zero, one)
        out[i] = u if heights else s
        c[i] = c_new
        v[i] = (one - s) * h + s * rest if hard else h - s * level[i]


@written_out
def cuba_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    hard, mode, silent, cut, learn = form
    (c, v), (to_c, to_v) = before, g
    alphas, betas, gains, rests = p
    to_alpha, to_beta, to_gain, to_rest = gp
    zero, one, first = u.dtype.type(0), u.dtype.type(1), mode < OTHER_ORDER
    for i in range(u.shape[0]):
        alpha, beta, gain, rest = at(alphas, i), at(betas, i), at(gains, i), at(rests, i)
        h = u[i] + level[i] if first else (rest + beta * (v[i] - rest)) + gain * c[i]
        s, gv = fires(u[i], silent, zero, one), to_v[i]
        back = gv * rest - gv * h if hard else -gv * level[i]
        to_u = slope[i] * (go[i] + (zero if cut else back))
        to_h = gv * (one - s) if hard else gv
        if first:
            to_h = to_h + to_u
            to_new = to_c[i] + gain * to_h
            to_c[i], to_v[i] = alpha * to_new, beta * to_h
        else:
            to_new = to_c[i]
            to_c[i], to_v[i] = alpha * to_new + gain * to_h, beta * to_h + to_u
        gx[i] = to_new
        if learn:
            gl[i] = gl[i] - to_u if hard else gl[i] - gv * s - to_u
        if learn >= PARAMETERS:
            to_alpha[i] += to_new * c[i]
            to_beta[i] += to_h * (v[i] - rest)
            to_gain[i] += to_h * (alpha * c[i] + x[i] if first else c[i])
            if hard:
                to_rest[i] += gv * s + to_h * (one - beta)


@written_out
def adlif_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``adlif``, with the parameters alpha, 1 - alpha, beta, coupling and jump."""
    _, _, silent, heights, _ = form
    v, w, fired = state
    alphas, others, betas, couplings, jumps = p
    zero, one = out.dtype.type(0), out.dtype.type(1)
    for i in range(out.shape[0]):
        s_old, v_old = fired[i], v[i]
        w_new = at(betas, i) * w[i] + at(couplings, i) * v_old + at(jumps, i) * s_old
        v_new = at(alphas, i) * (v_old - level[i] * s_old) + at(others, i) * (x[i] - w_new)
        u = v_new - level[i]
        s = fires(u, silent, zero, one)
        out[i] = u if heights else s
        v[i], w[i], fired[i] = v_new, w_new, s


@written_out
def adlif_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    _, _, _, cut, learn = form
    (v, w, fired), (to_v, to_w, to_fired) = before, g
    alphas, others, betas, couplings, jumps = p
    to_alpha, to_other, to_beta, to_coupling, to_jump = gp
    zero = u.dtype.type(0)
    for i in range(u.shape[0]):
        s, theta, other = fired[i], level[i], at(others, i)
        to_u = slope[i] * (go[i] + to_fired[i])
        gv = to_v[i] + to_u
        gw = to_w[i] - gv * other
        decayed = gv * at(alphas, i)
        gx[i] = gv * other
        to_v[i] = decayed + gw * at(couplings, i)
        to_w[i] = gw * at(betas, i)
        to_fired[i] = gw * at(jumps, i) - (zero if cut else decayed * theta)
        if learn:
            gl[i] = gl[i] - to_u - decayed * s
        if learn >= PARAMETERS:
            w_new = at(betas, i) * w[i] + at(couplings, i) * v[i] + at(jumps, i) * s
            to_alpha[i] += gv * (v[i] - theta * s)
            to_other[i] += gv * (x[i] - w_new)
            to_beta[i] += gw * w[i]
            to_coupling[i] += gw * v[i]
            to_jump[i] += gw * s


@written_out
def alif_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``alif``, with the parameters alpha, rho, beta and the steps that it is refractory."""
    _, mode, silent, heights, alone = form
    v, a, wait, fired = state
    alphas, rhos, betas, steps = p
    zero, one, never = out.dtype.type(0), out.dtype.type(1), out.dtype.type(-np.inf)
    for i in range(out.shape[0]):
        s_old, theta, count, waiting = fired[i], level[i], at(steps, i), wait[i]
        a_new = at(rhos, i) * a[i] + s_old
        v_new = at(alphas, i) * v[i] + x[i] - theta * s_old
        u = (v_new - (theta + at(betas, i) * a_new)) / theta
        s = fires(u, silent, zero, one)
        if mode >= OTHER_ORDER:
            s = zero if waiting > zero else s
            u = never if alone and waiting > zero else u
            waiting = min(max(waiting + count * s - one, zero), count)
        out[i] = u if heights else s
        v[i], a[i], wait[i], fired[i] = v_new, a_new, waiting, s


@written_out
def alif_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    _, mode, silent, cut, learn = form
    (v, a, wait, fired), (to_v, to_a, to_wait, to_fired) = before, g
    (alphas, rhos, betas, steps), (to_alpha, to_rho, to_beta, _) = p, gp
    zero, one = u.dtype.type(0), u.dtype.type(1)
    for i in range(u.shape[0]):
        s, theta, count = fired[i], level[i], at(steps, i)
        to_s = go[i] + to_fired[i]
        if mode >= OTHER_ORDER:
            waits = wait[i] > zero
            to_s = zero if waits else to_s
            counted = wait[i] + count * (zero if waits else fires(u[i], silent, zero, one)) - one
            to_wait[i] = to_wait[i] if counted >= zero and counted <= count else zero
        to_u = slope[i] * to_s / theta
        gv = to_v[i] + to_u
        ga = to_a[i] - to_u * at(betas, i)
        gx[i] = gv
        to_v[i] = gv * at(alphas, i)
        to_a[i] = ga * at(rhos, i)
        to_fired[i] = ga - (zero if cut else gv * theta)
        if learn:
            gl[i] = gl[i] - to_u - to_u * u[i] - gv * s
        if learn >= PARAMETERS:
            to_alpha[i] += gv * v[i]
            to_rho[i] += ga * a[i]
            to_beta[i] -= to_u * (at(rhos, i) * a[i] + s)


@written_out
def li_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``li``, with the parameters decay, gain and the constant that the rest adds at each step."""
    (v,), (decays, gains, added) = state, p
    for i in range(out.shape[0]):
        v_new = at(decays, i) * v[i] + (x[i] * at(gains, i) + at(added, i))
        out[i] = v_new
        v[i] = v_new


@written_out
def li_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    learn = form[4]
    (v,), (to_v,), (decays, gains, _), (to_decay, to_gain, to_added) = before, g, p, gp
    for i in range(u.shape[0]):
        gv = to_v[i] + go[i]
        gx[i] = gv * at(gains, i)
        to_v[i] = gv * at(decays, i)
        if learn >= PARAMETERS:
            to_decay[i] += gv * v[i]
            to_gain[i] += gv * x[i]
            to_added[i] += gv


@written_out
def relu_step(x, level, p, state, out, form):  # type: ignore[no-untyped-def]
    """``relu``, without parameters and states."""
    heights, zero = form[3], out.dtype.type(0)
    for i in range(out.shape[0]):
        u = x[i] / level[i]
        out[i] = u if heights or not u <= zero else zero


@written_out
def relu_adjoint(x, level, p, before, u, slope, go, g, gx, gl, gp, form):  # type: ignore[no-untyped-def]
    learn, zero = form[4], u.dtype.type(0)
    for i in range(u.shape[0]):
        gx[i] = zero if u[i] <= zero else go[i] / level[i]
        if learn:
            gl[i] -= gx[i] * u[i]


_CHARGING = Kind(charging_step, charging_adjoint, 1, 2, recalled=False)
KERNEL_KINDS = {
    "lif": _CHARGING,
    "if": _CHARGING,
    "plif": _CHARGING,
    "cuba": Kind(cuba_step, cuba_adjoint, 2, 4),
    "adlif": Kind(adlif_step, adlif_adjoint, 3, 5, late=True),
    "alif": Kind(alif_step, alif_adjoint, 4, 4, late=True),
    "li": Kind(li_step, li_adjoint, 1, 3, recalled=False),
    "relu": Kind(relu_step, relu_adjoint, 0, 0, recalled=False),
}
"""By the name of the kind in ``neurozoo.core.kinds``."""
