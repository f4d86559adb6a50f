"""Runs the cases against a backend, and says what came of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from neurozoo.interfaces import LIFSpec, Neuron
from neurozoo.testing.backward import BACKWARD_CASES
from neurozoo.testing.forward import FORWARD_CASES
from neurozoo.testing.subject import ConformanceError, Subject

__all__ = ["CASES", "Case", "CaseResult", "Report", "check_backend", "run_case"]

Case = Callable[[Subject], None]
CASES: dict[str, Case] = {case.__name__: case for case in (*FORWARD_CASES, *BACKWARD_CASES)}


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    Attributes:
        name: Its name in :data:`CASES`.
        problem: What is wrong; empty where it passed.
        compared: How many spikes were held against the oracle's.
        excused: How many differed within an inexact backend's margin.
    """

    name: str
    problem: str
    compared: int
    excused: int


@dataclass(frozen=True)
class Report:
    """What came of every case."""

    results: tuple[CaseResult, ...]

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that did not pass."""
        return tuple(result for result in self.results if result.problem)

    def raise_if_failed(self) -> None:
        """Raise unless every case passed.

        Raises:
            ConformanceError: Names each failed case and its problem.
        """
        if self.failures:
            lines = [f"{result.name}: {result.problem}" for result in self.failures]
            raise ConformanceError(f"{len(lines)} of {len(self.results)} cases failed\n" + "\n".join(lines))


def run_case(name: str, make: Callable[[LIFSpec], Neuron], exact: bool) -> CaseResult:
    """Run one case; whatever the backend raises is the case's problem."""
    subject = Subject(make, exact)
    try:
        CASES[name](subject)
        problem = ""
    except ConformanceError as error:
        problem = str(error)
    except Exception as error:  # a backend under test may raise anything
        problem = f"{type(error).__name__}: {error}"
    return CaseResult(name, problem, subject.compared, subject.excused)


def check_backend(make: Callable[[LIFSpec], Neuron], *, exact: bool) -> Report:
    """Run every case against a backend.

    Args:
        make: Its neuron's class.
        exact: Whether every spike must equal the oracle's; otherwise one may differ where the
            membrane is within 8 units in the last place of the threshold.
    """
    return Report(tuple(run_case(name, make, exact) for name in CASES))
