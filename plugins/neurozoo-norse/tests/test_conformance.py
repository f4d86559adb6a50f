from __future__ import annotations

from neurozoo.testing import BackendConformance


class TestNorse(BackendConformance):
    name = "norse"
    # Two processes, and long loops in Python; the neurons are torch's operations and nothing else.
    slow = ("a_data_parallel_pair", "a_thousand_steps", "back_through_a_thousand_steps")
