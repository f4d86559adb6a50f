"""Every model of the zoo in every format: what it computes is what the model computes, or it is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from exported import SMALL, small_written

import neurozoo
from neurozoo.data.synthetic.mosei import made_up
from neurozoo.errors import DifferentError
from neurozoo.exporting.comparison import TOLERANCE
from neurozoo.exporting.export import export_model
from neurozoo.exporting.program import inputs_of, outputs_of
from neurozoo.registry.registry import default_registry
from neurozoo.runs.shipped_models import shipped_models


def test_every_model_is_here() -> None:
    assert set(SMALL) == set(default_registry().components("model"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALL))
@pytest.mark.parametrize("format", ["torch-export", "onnx"])
def test_a_small_form_of_each_model_computes_the_same_elsewhere(name: str, format: str, tmp_path: Path) -> None:
    difference, operations = small_written(name, format, tmp_path)
    assert operations > 0
    assert difference <= (0 if format == "torch-export" else TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(shipped_models()))
def test_every_packed_model_computes_the_same_in_torch(name: str, tmp_path: Path) -> None:
    made = export_model(name, tmp_path / "out", format="torch-export", samples=40)
    assert (made.samples, made.difference) == (40, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(shipped_models()))
def test_every_packed_model_computes_the_same_in_onnx_or_is_refused(name: str, tmp_path: Path) -> None:
    refused, made = "", None
    try:
        made = export_model(name, tmp_path / "out", format="onnx", samples=40)
    except DifferentError as error:
        refused = str(error)
    if made is None:
        assert "are a spike in one of the two alone" in refused
        assert list(tmp_path.iterdir()) == []
    else:
        model = neurozoo.load(name, backend="torch").module
        inputs = inputs_of(model, made_up(model.problem.signals, model.problem.task, 40, 0))
        largest = max(float(x.abs().max()) for x in outputs_of(model, inputs).values())
        assert made.samples == 40
        assert made.difference <= TOLERANCE + TOLERANCE * largest  # absolute plus relative, as it is compared
