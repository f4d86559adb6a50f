"""What a backend's neuron must do."""

from __future__ import annotations

from neurozoo.testing.backend.backward import BACKWARD_CASES
from neurozoo.testing.backend.forward import FORWARD_CASES
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.report import Kit

__all__ = ["BACKEND"]

BACKEND = Kit(
    "backend",
    Subject,
    {case.__name__: case for case in (*FORWARD_CASES, *BACKWARD_CASES)},
    tiny=("hand_computed_membranes", "ties_fire", "every_threshold_form", "learnable_thresholds"),
)
