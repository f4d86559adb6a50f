"""What a case records while it runs, and the errors that it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from neurozoo.errors import NeurozooError
from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["Candidate", "ConformanceError", "Findings", "NotRun", "Worst", "registered", "require"]

Form = TypeVar("Form")
Part = TypeVar("Part")


class ConformanceError(AssertionError):
    """A component does not do what its interface promises."""


class NotRun(Exception):
    """A case that cannot be run here; holds the reason, such as a missing library."""


def require(holds: object, problem: str) -> None:
    """Raise a ConformanceError with a text of what is wrong unless something holds."""
    if not holds:
        raise ConformanceError(problem)


@dataclass(frozen=True)
class Candidate:
    """A component under test.

    Attributes:
        kind: Its kind.
        name: Its name in reports.
        target: Its class.
        exact: For a backend: whether every spike must equal the oracle's; if not, one may differ where the membrane is
            within 8 units in the last place of the threshold.
        native: For a backend: whether it is another model, which is not compared with the oracle.
        requires: Import names of the libraries that it needs.
        params: Its ``params``, as a recipe would give them.
    """

    kind: Kind
    name: str
    target: Any
    exact: bool = True
    native: bool = False
    requires: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


def registered(
    kind: Kind, name: str, params: Mapping[str, Any] | None = None, registry: Registry | None = None
) -> Candidate:
    """A registered component, with what it declares.

    Raises:
        UnknownNameError: Nothing of that kind has that name.
        PluginError: It cannot be imported, or is not what its kind must be.
    """
    registry = registry or default_registry()
    found = registry.get(kind, name)
    target = registry.resolve(kind, name)
    return Candidate(kind, name, target, found.exact, found.native, found.requires, dict(params or {}))


@dataclass(frozen=True)
class Worst:
    """The largest difference that a case allowed.

    Attributes:
        difference: As a share of the largest value of its tensor, dimensionless.
        tolerance: What was allowed there.
        where: What differed.
    """

    difference: float
    tolerance: float
    where: str


@dataclass
class Findings:
    """What one case has recorded so far; the subject of a kit is a subclass.

    Attributes:
        candidate: The component under test.
        compared: Number of values (spikes, for a backend) that were compared with those expected.
        excused: Number of an inexact backend's spikes that differed within the margin.
        refused: What the candidate refused, and why; each once.
        worst: The largest difference that was allowed, relative to its tolerance.
        excused_at: Where the first excused difference was.
        at: What the case is being run on; stands behind each place that is recorded.
    """

    candidate: Candidate
    compared: int = 0
    excused: int = 0
    refused: list[str] = field(default_factory=list)
    worst: Worst | None = None
    excused_at: str = ""
    at: str = ""

    def excuse(self, count: int, where: str) -> None:
        """Count differences within the margin, and record where the first one was."""
        self.excused_at = self.excused_at or where
        self.excused += count

    def refuse(self, what: str) -> None:
        """Record what the candidate refused, and why: ``WHAT: REASON``."""
        if what not in self.refused:
            self.refused.append(what)

    def built(
        self, forms: Iterable[Form], build: Callable[[Form], Part], describe: Callable[[Form], str]
    ) -> Iterator[tuple[Form, Part]]:
        """Yield each form that the candidate does not refuse, with what it builds from it.

        Raises:
            ConformanceError: It refuses all.
        """
        refuses_all = True
        for form in forms:
            try:
                part = build(form)
            except NeurozooError as error:
                self.refuse(f"{describe(form)}: {error}")
                continue
            refuses_all = False
            yield form, part
        if refuses_all:
            raise ConformanceError(f"it refuses every form, such as {self.refused[-1]}")

    def allow(self, difference: float, tolerance: float, where: str) -> None:
        """Check a difference against its tolerance, and record it if it is the worst so far.

        Raises:
            ConformanceError: It is larger, or not a number.
        """
        require(difference <= tolerance, f"off by {difference:.2g} of its largest, more than {tolerance:.2g}: {where}")
        if self.worst is None or difference * self.worst.tolerance > self.worst.difference * tolerance:
            self.worst = Worst(difference, tolerance, f"{where}, {self.at}" if self.at else where)
