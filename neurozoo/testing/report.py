"""Runs the cases of a kit, and says what came of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from neurozoo.hookspecs import Kind
from neurozoo.testing.findings import Candidate, ConformanceError, Findings, NotRun, Worst

__all__ = ["Case", "CaseResult", "Kit", "Outcome", "Report", "run_case", "run_cases"]

Case = Callable[[Any], None]
"""Takes the kit's subject; its name says what must hold, and its docstring why."""
Outcome = Literal["passed", "failed", "not run"]


@dataclass(frozen=True)
class Kit:
    """All that a component of one kind must pass.

    Attributes:
        kind: Of which components.
        subject: Makes of a candidate what the cases take.
        cases: By name, in the order they are run.
        tiny: Names of a few quick ones, for ``neurozoo doctor``.
    """

    kind: Kind
    subject: Callable[[Candidate], Findings]
    cases: Mapping[str, Case]
    tiny: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Attributes:
        name: Its name in the kit.
        outcome: Passed, failed, or not run.
        problem: What is wrong, or why it was not run; empty where it passed.
        compared: How many values were held against those expected.
        excused: How many spikes of an inexact backend differed within the margin.
        refused: What the candidate refused to be.
        worst: The largest difference that was allowed; None where none was measured.
    """

    name: str
    outcome: Outcome
    problem: str
    compared: int
    excused: int
    refused: tuple[str, ...]
    worst: Worst | None

    def __str__(self) -> str:
        told = [f"{self.compared} compared"] if self.compared else []
        told += [f"{self.excused} excused"] if self.excused else []
        told += [f"{len(self.refused)} refused"] if self.refused else []
        if self.worst is not None:
            worst = self.worst
            told.append(f"worst {worst.difference:.2g} of {worst.tolerance:.2g} allowed ({worst.where})")
        told += [self.problem] if self.problem else []
        return f"{self.outcome:7}  {self.name}" + (f": {'; '.join(told)}" if told else "")


@dataclass(frozen=True)
class Report:
    """What came of every case.

    Attributes:
        kind: Of the component.
        name: Its name.
        results: A line a case.
    """

    kind: Kind
    name: str
    results: tuple[CaseResult, ...]

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that did not pass."""
        return tuple(result for result in self.results if result.outcome == "failed")

    @property
    def passed(self) -> bool:
        """Whether no case failed, and at least one was run."""
        return not self.failures and any(result.outcome == "passed" for result in self.results)

    @property
    def worst(self) -> Worst | None:
        """The largest difference that was allowed in any case, relative to its tolerance."""
        found = [result.worst for result in self.results if result.worst is not None]
        return max(found, key=lambda worst: worst.difference / worst.tolerance, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, in plain dicts, lists and numbers."""
        return {**asdict(self), "passed": self.passed, "worst": asdict(self.worst) if self.worst else None}

    def __str__(self) -> str:
        counts = {outcome: sum(r.outcome == outcome for r in self.results) for outcome in ("passed", "failed")}
        head = f"{self.kind} {self.name}: {counts['passed']} of {len(self.results)} cases passed"
        head += f", {counts['failed']} failed" if counts["failed"] else ""
        return "\n".join([head, *(f"  {result}" for result in self.results)])

    def raise_if_failed(self) -> None:
        """Raise unless every case that was run passed, and one was.

        Raises:
            ConformanceError: Names each failed case and its problem.
        """
        if not self.passed:
            lines = [f"{result.name}: {result.problem}" for result in self.failures]
            raise ConformanceError(f"{len(lines)} of {len(self.results)} cases failed\n" + "\n".join(lines))


def run_case(kit: Kit, name: str, candidate: Candidate) -> CaseResult:
    """Run one case; whatever the component raises is the case's problem."""
    subject = kit.subject(candidate)
    outcome: Outcome = "passed"
    problem = ""
    try:
        kit.cases[name](subject)
    except NotRun as reason:
        outcome, problem = "not run", str(reason)
    except ConformanceError as error:
        outcome, problem = "failed", str(error)
    except Exception as error:  # a component under test may raise anything
        outcome, problem = "failed", f"{type(error).__name__}: {error}"
    found = (subject.compared, subject.excused, tuple(subject.refused), subject.worst)
    return CaseResult(name, outcome, problem, *found)


def run_cases(kit: Kit, candidate: Candidate, names: Iterable[str] | None = None) -> Report:
    """Run the named cases, by default all of the kit."""
    chosen = kit.cases if names is None else names
    return Report(candidate.kind, candidate.name, tuple(run_case(kit, name, candidate) for name in chosen))
