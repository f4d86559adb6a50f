from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNumba(BackendConformance):
    name = "numba"
    # They compile some 200 loops, or start two processes; tests/backends/fused has gradients of all kinds.
    slow = (
        "a_data_parallel_pair",
        "every_kind_learns",
        "every_reset",
        "gradients_without_a_leak",
        "learnable_thresholds",
        "parameters_for_all_and_for_each",
        "through_a_given_state",
    )
