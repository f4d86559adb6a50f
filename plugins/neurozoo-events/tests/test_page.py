"""The table of models in ``docs/events.md`` is what the engine says of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "docs" / "examples" / "events_table.py"


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="the docs are not part of this copy")
def test_the_table_of_models_is_true() -> None:
    spec = importlib.util.spec_from_file_location("events_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    text = page.PAGE.read_text(encoding="utf-8")
    found = text[text.index(page.BEGIN) + len(page.BEGIN) : text.index(page.END)]
    assert found == page.table(), "run `python docs/examples/events_table.py --write`"
