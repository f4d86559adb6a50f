"""The kits: which is whose, how one is run, and its cases as tests that pytest collects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, ClassVar

from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.testing.findings import Candidate, ConformanceError, Findings, NotRun, registered
from neurozoo.testing.report import CaseResult, Outcome, Report

__all__ = [
    "BackendConformance",
    "DataConformance",
    "EngineConformance",
    "FusionConformance",
    "Kit",
    "LabelHeadConformance",
    "LossConformance",
    "ModelConformance",
    "PartConformance",
    "RepresentationConformance",
    "TaskConformance",
    "cases_of",
    "check",
    "kit_of",
    "require_kit",
    "run_case",
]

Case = Callable[[Any], None]
"""A check of the kit's subject; its name says what must hold, and its docstring how."""


@dataclass(frozen=True)
class Kit:
    """All that a component of one kind must pass.

    Attributes:
        kind: The kind of component.
        subject: Makes the argument of the cases from a candidate.
        cases: By name, in the order in which they run.
        tiny: Names of a few quick cases, for ``neurozoo doctor``.
    """

    kind: Kind
    subject: Callable[[Candidate], Findings]
    cases: Mapping[str, Case]
    tiny: tuple[str, ...] = ()


def cases_of(*modules: ModuleType) -> dict[str, Case]:
    """The cases of some modules by name, in the order in which they are written: their own public functions."""
    return {
        name: function
        for module in modules
        for name, function in vars(module).items()
        if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
    }


def kit_of(kind: Kind) -> Kit | None:
    """The kit of a kind; None where components are only checked against their interface, when they are loaded."""
    module, _, name = KINDS[kind].kit.partition(":")
    if not module:
        return None
    kit: Kit = getattr(import_module(module), name)
    return kit


def require_kit(kind: Kind) -> Kit:
    """The kit of a kind that has one.

    Raises:
        KeyError: There is no kit for the kind.
    """
    if kit := kit_of(kind):
        return kit
    raise KeyError(kind)


def check(candidate: Candidate, cases: Iterable[str] | None = None) -> Report:
    """Run a component's kit.

    Args:
        candidate: The component; :func:`~neurozoo.testing.findings.registered` looks one up by name.
        cases: Names of some cases; all by default.

    Raises:
        KeyError: There is no kit for its kind.
    """
    kit = require_kit(candidate.kind)
    chosen = kit.cases if cases is None else cases
    return Report(candidate.kind, candidate.name, tuple(run_case(kit, name, candidate) for name in chosen))


def run_case(kit: Kit, name: str, candidate: Candidate) -> CaseResult:
    """Run one case; whatever the component raises is the problem of the case."""
    subject = kit.subject(candidate)
    outcome: Outcome = "passed"
    problem = ""
    try:
        kit.cases[name](subject)
    except NotRun as reason:
        outcome, problem = "not run", str(reason)
    except ConformanceError as error:
        outcome, problem = "failed", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a component under test may raise anything, as extensions in other languages do
        outcome, problem = "failed", f"{type(error).__name__}: {error}"
    found = (subject.compared, subject.excused, tuple(subject.refused), subject.worst, subject.excused_at)
    return CaseResult(name, outcome, problem, *found)


class _Conformance:
    """Subclass one of the kinds as ``Test...`` and name a component: each case of the kit becomes a test.

    Attributes:
        name: The component's registered name.
        params: Its ``params``, as a recipe would give them; needed for those without a default.
        slow: Names of cases whose tests get pytest's marker ``slow``, which the project's settings then declare.
    """

    kind: ClassVar[Kind]
    name: ClassVar[str]
    params: ClassVar[Mapping[str, Any]] = {}
    slow: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, kind: Kind | None = None) -> None:
        super().__init_subclass__()
        if kind is not None:  # a class of this module; its kit is loaded when it is used
            cls.kind = kind
            return
        kit = require_kit(cls.kind)
        if unknown := sorted(set(cls.slow) - kit.cases.keys()):
            raise ValueError(f"slow names no case of the kit: {', '.join(unknown)}; there are: {', '.join(kit.cases)}")
        for case in kit.cases:
            if not hasattr(cls, f"test_{case}"):
                test: Callable[[_Conformance], None] = _test(kit, case)
                if case in cls.slow:
                    import pytest

                    test = pytest.mark.slow(test)
                setattr(cls, f"test_{case}", test)

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


class BackendConformance(_Conformance, kind="neuron"):
    """What a backend's neuron must do."""


class EngineConformance(_Conformance, kind="engine"):
    """What an engine must do."""


class FusionConformance(_Conformance, kind="fusion"):
    """What a fusion must do."""


class LabelHeadConformance(_Conformance, kind="label-head"):
    """What a label head must do."""


class ModelConformance(_Conformance, kind="model"):
    """What a model must do, on every form of data that it accepts; give ``params`` that make it small."""


class PartConformance(_Conformance, kind="part"):
    """What a part must do, in the first model that has a slot for it."""


class TaskConformance(_Conformance, kind="task"):
    """What a task must do."""


class DataConformance(_Conformance, kind="data"):
    """What a data set must do; give ``params`` that make it small, for each case generates it again."""


class LossConformance(_Conformance, kind="loss"):
    """What a loss must do."""


class RepresentationConformance(_Conformance, kind="representation"):
    """What a representation must do, on every form of signal that it accepts."""
