from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestSpikingJelly(BackendConformance):
    name = "spikingjelly"
    slow = ("a_data_parallel_pair",)  # two processes
