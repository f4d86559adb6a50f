"""A finished run, and what becomes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(trained_once: Callable[[int], Path], tmp_path: Path) -> Path:
    """A finished run of two epochs on three labels, seed 3, for this test alone."""
    return Path(shutil.copytree(trained_once(2), tmp_path / "first"))


@pytest.fixture
def copied(run: Path) -> Callable[..., Path]:
    """The same run under another name, with changes to its summary."""

    def copy(name: str, **changes: Any) -> Path:
        folder = run.parent / name
        shutil.copytree(run, folder)
        summary = json.loads((folder / "summary.json").read_text()) | changes
        (folder / "summary.json").write_text(json.dumps(summary))
        return folder

    return copy


@pytest.fixture
def stopped(copied: Callable[..., Path]) -> Path:
    """The run as if it had been stopped after its first epoch."""
    folder = copied("stopped")
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "predictions")
    first, _ = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(first + "\n")
    return folder
