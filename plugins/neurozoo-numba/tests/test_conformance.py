from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNumba(BackendConformance):
    name = "numba"
    # They compile some 200 loops; tests/backends/fused has gradients of every kind, in fewer forms.
    slow = (
        "every_kind_learns",
        "every_reset",
        "gradients_without_a_leak",
        "learnable_thresholds",
        "parameters_for_all_and_for_each",
        "through_a_given_state",
    )
