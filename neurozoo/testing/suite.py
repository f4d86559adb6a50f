"""The kits as classes of tests, one test a case, for pytest to collect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from neurozoo.registry.hookspecs import Kind
from neurozoo.testing.findings import Candidate, ConformanceError, registered
from neurozoo.testing.kits import KITS
from neurozoo.testing.report import Kit, run_case

__all__ = [
    "BackendConformance",
    "DatasetConformance",
    "FusionConformance",
    "LabelHeadConformance",
    "ModelConformance",
]


class _Conformance:
    """Subclass one of the kinds as ``Test...`` and name a component: each case becomes a test.

    The component is taken from the registry, with what it declares.

    Attributes:
        name: Its registered name.
        params: What a recipe would give as its ``params``; for those that have no default.
    """

    kind: ClassVar[Kind]
    name: ClassVar[str]
    params: ClassVar[Mapping[str, Any]] = {}

    def candidate(self) -> Candidate:
        """The component under test."""
        return registered(self.kind, self.name, self.params)


def _suite(kit: Kit) -> Callable[[type[_Conformance]], type[_Conformance]]:
    """A class decorator that adds a test for each case of a kit."""

    def add(cls: type[_Conformance]) -> type[_Conformance]:
        cls.kind = kit.kind
        for name, case in kit.cases.items():
            test = _test(kit, name)
            test.__doc__ = case.__doc__
            setattr(cls, f"test_{name}", test)
        return cls

    return add


def _test(kit: Kit, name: str) -> Callable[[_Conformance], None]:
    def test(self: _Conformance) -> None:
        result = run_case(kit, name, self.candidate())
        print(result)  # pytest -rP shows it: what was compared, excused, and the worst difference
        if result.outcome == "failed":
            raise ConformanceError(result.problem)
        if result.outcome == "not run":
            import pytest

            pytest.skip(result.problem)

    return test


@_suite(KITS["backend"])
class BackendConformance(_Conformance):
    """What a backend's neuron must do; name the backend."""


@_suite(KITS["fusion"])
class FusionConformance(_Conformance):
    """What a fusion must do; name it, and give ``params`` where some have no default."""


@_suite(KITS["label-head"])
class LabelHeadConformance(_Conformance):
    """What a label head must do; name it, and give ``params`` where some have no default."""


@_suite(KITS["model"])
class ModelConformance(_Conformance):
    """What a model must do, put together from parts of the core; name it, and give ``params`` that make it small."""


@_suite(KITS["dataset"])
class DatasetConformance(_Conformance):
    """What a data set must do; name it, and give ``params`` that make it small: each case makes it anew."""
