"""Runs one case of the backend kit on a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from neurozoo.core.interfaces import Neuron
from neurozoo.testing import KITS, Candidate, CaseResult
from neurozoo.testing.report import run_case


@pytest.fixture
def result_of() -> Callable[..., CaseResult]:
    """What comes of one case; as an inexact backend by default, which is allowed more."""

    def run(neuron: type[Neuron], case: str, *, exact: bool = False, **declared: Any) -> CaseResult:
        return run_case(KITS["backend"], case, Candidate("backend", neuron.__name__, neuron, exact, **declared))

    return run
