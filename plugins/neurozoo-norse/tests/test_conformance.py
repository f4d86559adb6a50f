from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNorse(BackendConformance):
    name = "norse"
