"""Cases on gradients. Each raises ConformanceError where the backend is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from neurozoo.interfaces import SURROGATES, LIFSpec
from neurozoo.testing.backend.forward import B, N, T, threshold_forms
from neurozoo.testing.backend.subject import Subject, made_up_currents

__all__ = ["BACKWARD_CASES"]


def every_surrogate(subject: Subject) -> None:
    """Each surrogate at several widths, also far from the threshold, where an exponential overflows."""
    currents = made_up_currents(T, B, N)
    for surrogate, alpha, scale in itertools.product(SURROGATES, (0.5, 2.0, 5.0), (1.0, 100.0)):
        for threshold in (0.7, torch.tensor(0.7)):
            subject.check_gradients(LIFSpec(surrogate=surrogate, alpha=alpha), currents * scale, threshold)


def every_reset(subject: Subject) -> None:
    """Hard to 0, soft, and hard to 0.2; detached or not; input divided by tau or not."""
    for dtype in (torch.float32, torch.float64):
        currents = made_up_currents(T, B, N, dtype=dtype)
        for v_reset, detach, decay in itertools.product((0.0, None, 0.2), (False, True), (True, False)):
            for surrogate in SURROGATES:
                spec = LIFSpec(v_reset=v_reset, detach_reset=detach, decay_input=decay, surrogate=surrogate)
                subject.check_gradients(spec, currents, 0.7)
                subject.check_gradients(spec, currents, torch.tensor(0.7, dtype=dtype))


def every_time_constant(subject: Subject) -> None:
    """tau from 1.01 to 100."""
    for tau, v_reset in itertools.product((1.01, 1.5, 3.0, 10.0, 100.0), (0.0, None, 0.2)):
        subject.check_gradients(LIFSpec(tau=tau, v_reset=v_reset), made_up_currents(12, B, N), 0.4)


def learnable_thresholds(subject: Subject) -> None:
    """A tensor threshold of every form gets its gradient; one library gives none, silently."""
    for dtype in (torch.float32, torch.float64):
        currents = made_up_currents(T, B, N, dtype=dtype)
        for v_reset, detach in itertools.product((0.0, None, 0.2), (False, True)):
            for threshold in threshold_forms(dtype):
                subject.check_gradients(LIFSpec(v_reset=v_reset, detach_reset=detach), currents, threshold)


def through_a_given_state(subject: Subject) -> None:
    """The gradient goes on into the state of an earlier chunk of time."""
    state = made_up_currents(B, N, seed=4)
    for v_reset in (0.0, None, 0.2):
        subject.check_gradients(LIFSpec(v_reset=v_reset), made_up_currents(T, B, N), 0.7, state)
        subject.check_gradients(LIFSpec(v_reset=v_reset), made_up_currents(T, B, N), torch.tensor(0.7), state)


BACKWARD_CASES: tuple[Callable[[Subject], None], ...] = (
    every_surrogate,
    every_reset,
    every_time_constant,
    learnable_thresholds,
    through_a_given_state,
)
