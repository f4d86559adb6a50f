"""Cases on gradients, held against the oracle. Each raises ConformanceError where the backend is wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from neurozoo.core.interfaces import SURROGATES, LIFSpec
from neurozoo.testing.backend.inputs import B, N, T, made_up_currents, threshold_forms
from neurozoo.testing.backend.subject import Subject

__all__ = ["BACKWARD_CASES"]

RESETS = (0.0, None, 0.2)
DETACHED = (False, True)


def every_surrogate(subject: Subject) -> None:
    """Each surrogate at several widths, also far from the threshold, where an exponential overflows."""
    currents = made_up_currents(T, B, N)
    thresholds: tuple[Tensor | float, ...] = (0.7, torch.tensor(0.7))
    specs = (LIFSpec(surrogate=name, alpha=alpha) for name, alpha in itertools.product(SURROGATES, (0.5, 2.0, 5.0)))
    for spec in subject.accepted(specs):
        for scale, threshold in itertools.product((1.0, 100.0), thresholds):
            subject.check_gradients(spec, currents * scale, threshold)


def every_reset(subject: Subject) -> None:
    """Hard to 0, soft, and hard to 0.2; detached or not; input divided by tau or not."""
    specs = (
        LIFSpec(v_reset=v_reset, detach_reset=detach, decay_input=decay, surrogate=surrogate)
        for v_reset, detach, decay, surrogate in itertools.product(RESETS, DETACHED, (True, False), SURROGATES)
    )
    for spec in subject.accepted(specs):
        for dtype in (torch.float32, torch.float64):
            currents = made_up_currents(T, B, N, dtype=dtype)
            subject.check_gradients(spec, currents, 0.7)
            subject.check_gradients(spec, currents, torch.tensor(0.7, dtype=dtype))


def every_time_constant(subject: Subject) -> None:
    """tau from 1.01 to 100."""
    taus = (1.01, 1.5, 3.0, 10.0, 100.0)
    for spec in subject.accepted(LIFSpec(tau=tau, v_reset=v) for tau, v in itertools.product(taus, RESETS)):
        subject.check_gradients(spec, made_up_currents(12, B, N), 0.4)


def gradients_without_a_leak(subject: Subject) -> None:
    """tau = inf, with every reset, detached or not, and every form of threshold."""
    specs = (
        LIFSpec(math.inf, decay_input=False, v_reset=v_reset, detach_reset=detach)
        for v_reset, detach in itertools.product(RESETS, DETACHED)
    )
    for spec in subject.accepted(specs):
        for dtype in (torch.float32, torch.float64):
            for threshold in threshold_forms(dtype):
                subject.check_gradients(spec, made_up_currents(T, B, N, dtype=dtype), threshold)


def learnable_thresholds(subject: Subject) -> None:
    """A tensor threshold of every form gets its gradient; one library gives none, silently."""
    specs = (LIFSpec(v_reset=v_reset, detach_reset=detach) for v_reset, detach in itertools.product(RESETS, DETACHED))
    for spec in subject.accepted(specs):
        for dtype in (torch.float32, torch.float64):
            currents = made_up_currents(T, B, N, dtype=dtype)
            for threshold in threshold_forms(dtype):
                subject.check_gradients(spec, currents, threshold)


def through_a_given_state(subject: Subject) -> None:
    """The gradient goes on into the state of an earlier chunk of time."""
    state = made_up_currents(B, N, seed=4)
    for spec in subject.accepted(LIFSpec(v_reset=v_reset) for v_reset in RESETS):
        for threshold in (0.7, torch.tensor(0.7)):
            subject.check_gradients(spec, made_up_currents(T, B, N), threshold, state)


def bfloat16_gradients(subject: Subject) -> None:
    """Gradients in bfloat16 stay within some units of its rounding of the oracle's, relative to the largest."""
    currents = made_up_currents(T, B, 64, dtype=torch.bfloat16)
    specs = (LIFSpec(v_reset=v_reset, detach_reset=detach) for v_reset, detach in itertools.product(RESETS, DETACHED))
    for spec in subject.accepted(specs):
        for threshold in threshold_forms(torch.bfloat16, 64):
            subject.check_gradients(spec, currents, threshold)


BACKWARD_CASES: tuple[Callable[[Subject], None], ...] = (
    every_surrogate,
    every_reset,
    every_time_constant,
    gradients_without_a_leak,
    learnable_thresholds,
    through_a_given_state,
    bfloat16_gradients,
)
