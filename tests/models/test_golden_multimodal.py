"""Every multimodal model equals its authors' code: activations, outputs, losses, gradients, eight steps.

NEUROZOO_GOLDEN names another folder of golden files; those here are tests/golden/models, and parts for models that are
a part and little else.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from safetensors import safe_open

from neurozoo.testing.golden import GoldenFile
from neurozoo.testing.golden_models import GoldenModel, ModelCase

GOLDEN = Path(__file__).parents[1] / "golden"
OTHER = os.environ.get("NEUROZOO_GOLDEN")
FOLDERS = (Path(OTHER),) if OTHER else (GOLDEN / "models", GOLDEN / "parts")


def cases() -> tuple[ModelCase, ...]:
    """Return the CASE of every file in tests/models/golden_multimodal."""
    found = []
    for path in sorted((Path(__file__).parent / "golden_multimodal").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"golden_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(module.CASE)
    return tuple(found)


CASES = cases()


def read(case: ModelCase) -> GoldenModel:
    path = next(folder / case.file for folder in FOLDERS if (folder / case.file).is_file())
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return GoldenModel(case, GoldenFile(case.file, file.metadata() or {}, tensors))


def test_every_file_of_a_model_has_a_case() -> None:
    assert {path.name for path in (GOLDEN / "models").glob("*.safetensors")} <= {case.file for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
class TestGolden:
    def test_batches(self, case: ModelCase) -> None:
        golden = read(case)
        golden.check_batches()
        print(golden.worst)

    def test_eight_steps(self, case: ModelCase) -> None:
        golden = read(case)
        golden.check_steps()
        print(golden.worst)
