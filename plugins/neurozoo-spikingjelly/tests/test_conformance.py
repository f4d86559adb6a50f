from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestSpikingJelly(BackendConformance):
    name = "spikingjelly"
