"""What a backend's neuron must do.

A case is a public function of one of the modules below: its name says what must hold, its docstring how, and it raises
ConformanceError where that does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType

from neurozoo.testing.backend import calls, data_parallel, models, objects, oracle, properties, tables
from neurozoo.testing.backend.subject import Subject
from neurozoo.testing.report import Kit

__all__ = ["BACKEND", "CASE_MODULES", "cases_of"]

CASE_MODULES: tuple[ModuleType, ...] = (objects, tables, oracle, calls, properties, models, data_parallel)


def cases_of(module: ModuleType) -> dict[str, Callable[[Subject], None]]:
    """The cases of a module by name, in the order in which they are written."""
    return {
        name: function
        for name, function in vars(module).items()
        if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
    }


BACKEND = Kit(
    "neuron",
    Subject,
    {name: case for module in CASE_MODULES for name, case in cases_of(module).items()},
    tiny=("hand_computed_membranes", "ties_fire", "continues_from_a_state", "learnable_thresholds"),
)
