from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNumba(BackendConformance):
    name = "numba"
