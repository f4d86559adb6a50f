"""Runs one case of the backend kit on a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from neurozoo.core.neuron import Neuron
from neurozoo.testing import Candidate, CaseResult
from neurozoo.testing.backend import BACKEND
from neurozoo.testing.kits import run_case


@pytest.fixture
def result_of() -> Callable[..., CaseResult]:
    """The result of one case; by default for an inexact backend, which is allowed more."""

    def run(neuron: type[Neuron], case: str, *, exact: bool = False, **declared: Any) -> CaseResult:
        return run_case(BACKEND, case, Candidate("neuron", neuron.__name__, neuron, exact, **declared))

    return run
