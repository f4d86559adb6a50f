"""The conformance kit: whether a backend's neuron is the one it says it is.

A plugin's tests in three lines::

    from neurozoo.testing import BackendConformance

    class TestMyBackend(BackendConformance):
        backend = "mybackend"

Or anywhere::

    check_backend(MyNeuron, exact=True).raise_if_failed()
"""

from __future__ import annotations

from neurozoo.testing.runner import CASES, CaseResult, Report, check_backend
from neurozoo.testing.subject import ConformanceError, Subject
from neurozoo.testing.suite import BackendConformance

__all__ = ["CASES", "BackendConformance", "CaseResult", "ConformanceError", "Report", "Subject", "check_backend"]
