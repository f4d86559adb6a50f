"""Every fusion and label head of a paper equals its authors' code: activations, outputs, losses, gradients, steps.

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
    """Return the cases of fusions and of label heads, from files that pytest does not put on the path."""
    found: list[PartCase] = []
    for folder in ("fusions", "heads"):
        path = Path(__file__).parents[1] / folder / "golden_cases.py"
        spec = importlib.util.spec_from_file_location(f"golden_cases_of_{folder}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.CASES
    return tuple(found)


CASES = cases()


def read(case: PartCase) -> GoldenPart:
    with safe_open(FOLDER / case.file, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return GoldenPart(case, GoldenFile(case.file, file.metadata() or {}, tensors))


@pytest.mark.parametrize("kind", ["fusion", "head"])
def test_every_file_has_a_case(kind: str) -> None:
    known = {case.file for case in CASES}
    assert {path.name for path in FOLDER.glob(f"mm-{kind}-*.safetensors")} <= known


class TestGolden:
    @pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
    def test_batches(self, case: PartCase) -> None:
        golden = read(case)
        golden.check_batches()
        print(golden.worst)

    # scikit-learn fits a chain by another way than steps.
    @pytest.mark.parametrize(
        "case", [case for case in CASES if "chain" not in case.file], ids=lambda case: type(case).__name__
    )
    def test_eight_steps(self, case: PartCase) -> None:
        golden = read(case)
        golden.check_steps()
        print(golden.worst)
