"""The kit as a class of tests, one a case, for pytest to collect."""

from __future__ import annotations

from typing import ClassVar

from neurozoo.registry import default_registry
from neurozoo.testing.runner import CASES, Case
from neurozoo.testing.subject import Subject

__all__ = ["BackendConformance"]


class BackendConformance:
    """Subclass it as ``Test...`` and name a backend: each case becomes a test.

    The backend is taken from the registry, with what it declares: exact or not.

    Attributes:
        backend: Its registered name.
    """

    backend: ClassVar[str] = "torch"

    def subject(self) -> Subject:
        """The backend under test."""
        registry = default_registry()
        return Subject(registry.resolve("backend", self.backend), registry.get("backend", self.backend).exact)


def _add(name: str, case: Case) -> None:
    def test(self: BackendConformance) -> None:
        case(self.subject())

    test.__doc__ = case.__doc__
    setattr(BackendConformance, f"test_{name}", test)


for _name, _case in CASES.items():
    _add(_name, _case)
