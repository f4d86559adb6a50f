from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestSnnTorch(BackendConformance):
    name = "snntorch"
