"""Which kit is for which kind of component, and the check that runs one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from neurozoo.registry.hookspecs import Kind
from neurozoo.testing.backend import BACKEND
from neurozoo.testing.findings import Candidate
from neurozoo.testing.parts import DATASET, FUSION, LABEL_HEAD, MODEL
from neurozoo.testing.report import Kit, Report, run_cases

__all__ = ["KITS", "check"]

KITS: Mapping[Kind, Kit] = {kit.kind: kit for kit in (BACKEND, FUSION, LABEL_HEAD, MODEL, DATASET)}
"""The kits there are; the other kinds are held to their interface when they are loaded, and no further."""


def check(candidate: Candidate, cases: Iterable[str] | None = None) -> Report:
    """Run a component's kit.

    Args:
        candidate: The component; :func:`~neurozoo.testing.findings.registered` makes one of a name.
        cases: Names of some cases; by default all.

    Raises:
        KeyError: There is no kit for its kind.
    """
    return run_cases(KITS[candidate.kind], candidate, cases)
