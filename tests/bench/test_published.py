"""What published models do that corrected ones do not is measured, as text, JSON and a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from neurozoo.bench.published import MeasuredForm, smallest_sizes
from neurozoo.cli import main
from neurozoo.models.by_name import variants
from neurozoo.reporting.published import published_page


def test_both_forms_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "published", "sparch-radlif-128", "--json"]) == 0
    published, corrected = json.loads(capsys.readouterr().out)["published"]
    assert (published["form"], corrected["form"]) == ("published", "corrected")
    assert published["luck"] > 0.1
    assert published["neighbours"] > 0.1
    assert max(corrected["luck"], corrected["neighbours"], corrected["padding"]) < 1e-9
    assert (corrected["dead"], corrected["parameters"]) == (0, 142_908)
    assert 0.01 <= corrected["lowest"][0] <= corrected["highest"][0] <= 0.5


def test_a_page_names_what_was_measured_smaller_and_what_is_silent() -> None:
    silent = MeasuredForm("spikegpt-18-768", "spikegpt", "corrected", 7, 0, 0.0, None, 0.0, (0.001, "a"), (0.2, "b"))
    page = published_page([silent], {}, "neurozoo bench published --out FILE")
    assert "`neurozoo bench published --out FILE`" in page
    assert "spikegpt-18-768 was measured smaller than published, with 256 outputs, 64 length, 2 depth" in page
    assert "spikegpt-18-768, corrected: a fires in 0.10% of its steps on these inputs, outside of 1 to 50 %" in page
    assert "SYNTHETIC" in page


def test_every_model_has_its_smallest_size() -> None:
    assert smallest_sizes().keys() == {model for _, model, _ in variants()}


def test_an_unknown_size_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "published", "sparch-radlif-129", "--out", str(tmp_path / "page.md")]) == 2
    assert "did you mean 'sparch-radlif-128'" in capsys.readouterr().err
    assert not (tmp_path / "page.md").exists()
