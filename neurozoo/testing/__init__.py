"""The conformance kits: whether a component is what it says it is.

A plugin's tests in three lines::

    from neurozoo.testing import BackendConformance

    class TestMyBackend(BackendConformance):
        name = "mybackend"

There is one such class for each of :data:`~neurozoo.testing.kits.KITS`: backends, fusions, label
heads, models and data sets. Give ``params = {...}`` beside the name where a part has some without
a default.

Or without any: ``neurozoo plugins check mybackend``. Or for a class that is not registered::

    check(Candidate("backend", "mine", MyNeuron, exact=True)).raise_if_failed()
"""

from __future__ import annotations

from neurozoo.testing.findings import Candidate, ConformanceError, Worst, registered
from neurozoo.testing.kits import KITS, check
from neurozoo.testing.report import CaseResult, Report
from neurozoo.testing.suite import (
    BackendConformance,
    DatasetConformance,
    FusionConformance,
    LabelHeadConformance,
    ModelConformance,
)

__all__ = [
    "KITS",
    "BackendConformance",
    "Candidate",
    "CaseResult",
    "ConformanceError",
    "DatasetConformance",
    "FusionConformance",
    "LabelHeadConformance",
    "ModelConformance",
    "Report",
    "Worst",
    "check",
    "registered",
]
