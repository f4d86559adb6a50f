from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestSnnTorch(BackendConformance):
    name = "snntorch"
    # Two processes, torch's compiler, and long loops in Python; the neurons are torch's operations and nothing else.
    slow = ("a_data_parallel_pair", "a_thousand_steps", "back_through_a_thousand_steps", "can_be_compiled")
