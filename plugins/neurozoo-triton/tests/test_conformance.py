from __future__ import annotations

import pytest

pytest.importorskip("triton", reason="triton is not installed; `make test-triton` installs it and runs this")
if not pytest.importorskip("neurozoo_triton.kernels").INTERPRETED:
    pytest.skip("set TRITON_INTERPRET=1, as `make test-triton` does: the cases run on the CPU", allow_module_level=True)

from neurozoo.testing import BackendConformance


class TestTriton(BackendConformance):
    name = "triton"
