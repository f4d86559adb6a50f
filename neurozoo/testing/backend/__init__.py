"""What a backend's neuron must do."""

from __future__ import annotations

from neurozoo.testing.backend.backward import BACKWARD_CASES
from neurozoo.testing.backend.calls import CALL_CASES
from neurozoo.testing.backend.compiled import COMPILED_CASES
from neurozoo.testing.backend.data_parallel import PAIR_CASES
from neurozoo.testing.backend.devices import DEVICE_CASES
from neurozoo.testing.backend.forward import FORWARD_CASES
from neurozoo.testing.backend.interface import INTERFACE_CASES
from neurozoo.testing.backend.long_scans import LONG_CASES
from neurozoo.testing.backend.models import MODEL_CASES
from neurozoo.testing.backend.properties import PROPERTY_CASES
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.report import Kit

__all__ = ["BACKEND"]

_CASES = (
    *INTERFACE_CASES,
    *FORWARD_CASES,
    *CALL_CASES,
    *BACKWARD_CASES,
    *LONG_CASES,
    *PROPERTY_CASES,
    *DEVICE_CASES,
    *MODEL_CASES,
    *COMPILED_CASES,
    *PAIR_CASES,
)

BACKEND = Kit(
    "backend",
    Subject,
    {case.__name__: case for case in _CASES},
    tiny=("hand_computed_membranes", "ties_fire", "every_threshold_form", "learnable_thresholds"),
)
