"""Which kit belongs to which kind of component, and the check that runs one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from neurozoo.registry.hookspecs import KINDS, Kind
from neurozoo.testing.findings import Candidate
from neurozoo.testing.report import Kit, Report, run_cases

__all__ = ["check", "kit_of", "require_kit"]


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
    kit = kit_of(kind)
    if kit is None:
        raise KeyError(kind)
    return kit


def check(candidate: Candidate, cases: Iterable[str] | None = None) -> Report:
    """Run a component's kit.

    Args:
        candidate: The component; :func:`~neurozoo.testing.findings.registered` looks one up by name.
        cases: Names of some cases; all by default.

    Raises:
        KeyError: There is no kit for its kind.
    """
    return run_cases(require_kit(candidate.kind), candidate, cases)
