"""The conformance kits: whether a component does what its interface promises.

A plugin's tests in three lines::

    from neurozoo.testing import BackendConformance

    class TestMyBackend(BackendConformance):
        name = "mybackend"

There is one such class for each kind that has a kit (:data:`~neurozoo.registry.hookspecs.KINDS`): backends,
engines, fusions, label heads, models, parts of models, tasks, losses, data sets and representations. Give
``params = {...}`` with the name where some have no default.

Without tests: ``neurozoo plugins check mybackend``. For a class that is not registered::

    check(Candidate("neuron", "mine", MyNeuron, exact=True)).raise_if_failed()
"""

from __future__ import annotations

from neurozoo.testing.findings import Candidate, ConformanceError, Worst, registered
from neurozoo.testing.kits import (
    BackendConformance,
    DataConformance,
    EngineConformance,
    FusionConformance,
    LabelHeadConformance,
    LossConformance,
    ModelConformance,
    PartConformance,
    RepresentationConformance,
    TaskConformance,
    check,
    kit_of,
)
from neurozoo.testing.report import CaseResult, Report

__all__ = [
    "BackendConformance",
    "Candidate",
    "CaseResult",
    "ConformanceError",
    "DataConformance",
    "EngineConformance",
    "FusionConformance",
    "LabelHeadConformance",
    "LossConformance",
    "ModelConformance",
    "PartConformance",
    "Report",
    "RepresentationConformance",
    "TaskConformance",
    "Worst",
    "check",
    "kit_of",
    "registered",
]
