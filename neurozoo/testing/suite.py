"""The kits as classes for pytest to collect, one test per case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from neurozoo.registry.hookspecs import Kind
from neurozoo.testing.findings import Candidate, ConformanceError, registered
from neurozoo.testing.kits import require_kit
from neurozoo.testing.report import Kit, run_case

__all__ = [
    "BackendConformance",
    "DataConformance",
    "FusionConformance",
    "LabelHeadConformance",
    "ModelConformance",
    "PartConformance",
    "TaskConformance",
]


class _Conformance:
    """Subclass one of the kinds as ``Test...`` and name a component: each case of the kit becomes a test.

    Attributes:
        name: The component's registered name.
        params: Its ``params``, as a recipe would give them; needed for those without a default.
    """

    kind: ClassVar[Kind]
    name: ClassVar[str]
    params: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "name"):  # a class of this module; its kit is loaded when it is used
            return
        kit = require_kit(cls.kind)
        for case in kit.cases:
            if not hasattr(cls, f"test_{case}"):
                setattr(cls, f"test_{case}", _test(kit, case))

    def candidate(self) -> Candidate:
        """The component under test, from the registry."""
        return registered(self.kind, self.name, self.params)


def _test(kit: Kit, name: str) -> Callable[[_Conformance], None]:
    def test(self: _Conformance) -> None:
        result = run_case(kit, name, self.candidate())
        print(result)  # shown by pytest -rP
        if result.outcome == "failed":
            raise ConformanceError(result.problem)
        if result.outcome == "not run":
            import pytest

            pytest.skip(result.problem)

    test.__doc__ = kit.cases[name].__doc__
    return test


class BackendConformance(_Conformance):
    """What a backend's neuron must do."""

    kind = "neuron"


class FusionConformance(_Conformance):
    """What a fusion must do."""

    kind = "fusion"


class LabelHeadConformance(_Conformance):
    """What a label head must do."""

    kind = "label-head"


class ModelConformance(_Conformance):
    """What a model must do, on every form of data that it accepts; give ``params`` that make it small."""

    kind = "model"


class PartConformance(_Conformance):
    """What a part must do, in the first model that has a slot for it."""

    kind = "part"


class TaskConformance(_Conformance):
    """What a task must do."""

    kind = "task"


class DataConformance(_Conformance):
    """What a data set must do; give ``params`` that make it small, for each case generates it again."""

    kind = "data"
