from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNumba(BackendConformance):
    name = "numba"
    # They compile some 150 loops; tests/backends/fused has gradients of every kind, in fewer forms.
    slow = ("every_kind_learns", "every_reset", "learnable_thresholds")
