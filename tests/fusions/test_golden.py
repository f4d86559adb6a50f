"""Every fusion of a paper equals its authors' code: activations, outputs, losses, gradients, eight steps.

NEUROZOO_GOLDEN names another folder of golden files; the one here is tests/golden/parts.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from safetensors import safe_open

from neurozoo.testing.golden import GoldenFile
from neurozoo.testing.golden_parts import GoldenPart, PartCase

FOLDER = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "parts")


def cases() -> tuple[PartCase, ...]:
    """Return the cases of the file beside this one, which pytest does not put on the path."""
    spec = importlib.util.spec_from_file_location("golden_cases", Path(__file__).with_name("golden_cases.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: tuple[PartCase, ...] = module.CASES
    return found


CASES = cases()


def read(case: PartCase) -> GoldenPart:
    with safe_open(FOLDER / case.file, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return GoldenPart(case, GoldenFile(case.file, file.metadata() or {}, tensors))


def test_every_file_of_a_fusion_has_a_case() -> None:
    known = {case.file for case in CASES}
    assert {path.name for path in FOLDER.glob("mm-fusion-*.safetensors")} <= known


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
class TestGolden:
    def test_batches(self, case: PartCase) -> None:
        golden = read(case)
        golden.check_batches()
        print(golden.worst)

    def test_eight_steps(self, case: PartCase) -> None:
        golden = read(case)
        golden.check_steps()
        print(golden.worst)
