"""What the cases of a kit found, and its report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from textwrap import indent
from typing import Any, Literal

from neurozoo.registry.hookspecs import Kind
from neurozoo.testing.findings import ConformanceError, Worst

__all__ = ["CaseResult", "Outcome", "Report"]

Outcome = Literal["passed", "failed", "not run"]

SHOWN_REASONS = 6
"""Number of reasons for refusals that a report prints; ``to_dict`` has all of them."""


@dataclass(frozen=True)
class CaseResult:
    """The result of one case.

    Attributes:
        name: The case's name in the kit.
        outcome: Passed, failed, or not run.
        problem: What is wrong, or why it was not run; empty where it passed.
        compared, excused, refused, worst, excused_at: See :class:`~neurozoo.testing.findings.Findings`.
    """

    name: str
    outcome: Outcome
    problem: str
    compared: int
    excused: int
    refused: tuple[str, ...]
    worst: Worst | None
    excused_at: str = ""

    @property
    def findings(self) -> str:
        """What was measured, on one line; empty if nothing was."""
        counts = {"compared": self.compared, "excused": self.excused, "refused": len(self.refused)}
        parts = [f"{count} {name}" for name, count in counts.items() if count]
        parts += [f"worst {_share(self.worst)}"] if self.worst else []
        return ", ".join(parts)

    def line(self, width: int = 0) -> str:
        """Outcome, name padded to ``width``, and findings or the reason why it was not run."""
        text = self.problem if self.outcome == "not run" else self.findings
        return f"{self.outcome:7}  {self.name:{width}}  {text}".rstrip()

    def __str__(self) -> str:
        return f"{self.line()}\n{indent(self.problem, '  ')}" if self.outcome == "failed" else self.line()


@dataclass(frozen=True)
class Report:
    """The results of a component's cases, in the order of the kit."""

    kind: Kind
    name: str
    results: tuple[CaseResult, ...]

    @property
    def failures(self) -> tuple[CaseResult, ...]:
        """The cases that failed."""
        return self._of("failed")

    @property
    def passed(self) -> bool:
        """Whether no case failed and at least one passed."""
        return not self.failures and bool(self._of("passed"))

    @property
    def worst(self) -> Worst | None:
        """The largest difference that was allowed in any case, relative to its tolerance."""
        found = [result.worst for result in self.results if result.worst is not None]
        return max(found, key=lambda worst: worst.difference / worst.tolerance, default=None)

    @property
    def refused(self) -> tuple[str, ...]:
        """What the component refused in any case, each once."""
        return tuple(dict.fromkeys(what for result in self.results for what in result.refused))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists and numbers."""
        worst = asdict(self.worst) if self.worst else None
        return {**asdict(self), "passed": self.passed, "worst": worst, "refused": self.refused}

    def __str__(self) -> str:
        """One line per case, then what was allowed or refused, then what is wrong."""
        width = max((len(result.name) for result in self.results), default=0)
        lines = [self._head(), *(f"  {result.line(width)}" for result in self.results), *self._allowed()]
        if self.failures:
            lines.append("what failed:")
        for result in self.failures:
            lines += [f"  {result.name}", indent(result.problem, "    ")]
        return "\n".join(lines)

    def raise_if_failed(self) -> None:
        """Raise unless every case that was run passed, and at least one was run.

        Raises:
            ConformanceError: Names each failed case and its problem.
        """
        if not self.passed:
            lines = [f"{result.name}: {result.problem}" for result in self.failures]
            raise ConformanceError(f"{self._head()}\n" + "\n".join(lines))

    def _of(self, outcome: Outcome) -> tuple[CaseResult, ...]:
        return tuple(result for result in self.results if result.outcome == outcome)

    def _head(self) -> str:
        head = f"{self.kind} {self.name}: {len(self._of('passed'))} of {len(self.results)} cases passed"
        others: tuple[Outcome, ...] = ("failed", "not run")
        return head + "".join(f", {len(self._of(outcome))} {outcome}" for outcome in others if self._of(outcome))

    def _allowed(self) -> list[str]:
        lines = []
        if self.worst is not None and self.worst.difference > 0:
            lines.append(f"largest difference: {_share(self.worst)}, {self.worst.where}")
        excused = [result for result in self.results if result.excused]
        if excused:
            total = sum(result.excused for result in excused)
            lines.append(
                f"excused: {total} of {sum(r.compared for r in self.results)}, the first: {excused[0].excused_at}"
            )
        return lines + self._refusals()

    def _refusals(self) -> list[str]:
        """One line per reason, with the first refusal for it."""
        by_reason: dict[str, list[str]] = {}
        for refusal in self.refused:
            what, _, reason = refusal.partition(": ")
            by_reason.setdefault(reason, []).append(what)
        lines = ["refused:"] if by_reason else []
        for reason, refused in list(by_reason.items())[:SHOWN_REASONS]:
            others = f" and {len(refused) - 1} others" if len(refused) > 1 else ""
            lines.append(f"  {refused[0]}{others}: {reason}")
        if len(by_reason) > SHOWN_REASONS:
            lines.append(f"  and for {len(by_reason) - SHOWN_REASONS} other reasons")
        return lines


def _share(worst: Worst) -> str:
    return f"{worst.difference:.1e} of {worst.tolerance:.1e} allowed"
