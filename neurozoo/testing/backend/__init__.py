"""What a backend's neuron must do.

A case is a public function of one of the modules below: its name says what must hold, its docstring how, and it raises
ConformanceError where that does not hold.
"""

from __future__ import annotations

from neurozoo.testing.backend import calls, data_parallel, models, objects, oracle, properties, tables
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.kits import Kit, cases_of

__all__ = ["BACKEND", "CASE_MODULES"]

CASE_MODULES = (objects, tables, oracle, calls, properties, models, data_parallel)

BACKEND = Kit(
    "neuron",
    Subject,
    cases_of(*CASE_MODULES),
    tiny=("hand_computed_membranes", "ties_fire", "continues_from_a_state", "learnable_thresholds"),
)
