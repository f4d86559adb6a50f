"""The conformance kits: whether a component is what it says it is.

A plugin's tests in three lines::

    from neurozoo.testing import BackendConformance

    class TestMyBackend(BackendConformance):
        name = "mybackend"

Or without any: ``neurozoo plugins check mybackend``. Or for a class that is not registered::

    check(Candidate("backend", "mine", MyNeuron, exact=True)).raise_if_failed()
"""

from __future__ import annotations

from neurozoo.testing.findings import Candidate, ConformanceError, Worst, registered
from neurozoo.testing.kits import KITS, check
from neurozoo.testing.report import CaseResult, Report
from neurozoo.testing.suite import BackendConformance

__all__ = [
    "KITS",
    "BackendConformance",
    "Candidate",
    "CaseResult",
    "ConformanceError",
    "Report",
    "Worst",
    "check",
    "registered",
]
