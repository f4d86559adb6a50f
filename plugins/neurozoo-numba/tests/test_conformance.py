from __future__ import annotations

from neurozoo.testing import BackendConformance, EncoderConformance


class TestNumba(BackendConformance):
    name = "numba"


class TestNumbaBlocks(EncoderConformance):
    name = "numba-blocks"
