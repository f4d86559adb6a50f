"""Every published model equals its authors' code: spikes, outputs, loss, gradients, statistics, five steps.

NEUROZOO_GOLDEN names another folder of golden files; the one here is tests/golden/zoo.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.errors import SpikingError
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import Golden, GoldenCase, GoldenFile

FOLDER = Path(os.environ.get("NEUROZOO_GOLDEN") or Path(__file__).parents[1] / "golden" / "zoo")
FILES = sorted(path.name for path in FOLDER.glob("*.safetensors") if not path.name.startswith("mm-"))
"""A folder that NEUROZOO_GOLDEN names may have the files of multimodal parts too, see tests/fusions/test_golden.py."""
BACKENDS = [name for name, each in default_registry().components("neuron").items() if not each.native]
OWN = ("torch", "numba", "triton")
"""Backends of this repository."""
MOSTLY_OWN = pytest.mark.parametrize(
    "backend", [each if each in OWN else pytest.param(each, marks=pytest.mark.slow) for each in BACKENDS]
)
"""Others slowly: spikes, outputs and gradients of a training step are tested for all."""
ReadGolden = Callable[[Path], tuple[GoldenCase, GoldenFile]]


@pytest.fixture
def golden(name: str, backend: str, tmp_path: Path, read_golden: ReadGolden) -> Golden:
    case, file = read_golden(FOLDER / name)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"schema": 2, **case.recipe(file.header)}))
    found = Golden(case, file, load_recipe(path, registry=default_registry()), backend)
    try:
        found.model()
    except SpikingError as error:
        if backend == "torch":  # it runs every kind of neuron
            raise
        pytest.skip(f"{backend} does not run this model's neurons: {error}")
    return found


def test_there_are_files() -> None:
    assert FILES, f"no golden file is in {FOLDER}"


@pytest.mark.parametrize("name", FILES)
class TestGolden:
    @pytest.mark.parametrize("backend", BACKENDS)
    def test_training(self, golden: Golden) -> None:
        golden.check_training()

    @MOSTLY_OWN
    def test_evaluation(self, golden: Golden) -> None:
        golden.check_evaluation()
        golden.check_variations()
        golden.check_unchanged()

    @MOSTLY_OWN
    def test_five_steps(self, golden: Golden) -> None:
        golden.check_steps()
