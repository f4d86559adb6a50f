"""A finished run, for tests of what is done with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurozoo.recipe.recipe import Recipe
from neurozoo.training.fit import train


@pytest.fixture
def trained(tmp_path: Path, recipe: Callable[..., Recipe]) -> Path:
    """A run of one epoch, in ``tmp_path / "run"``."""
    train(recipe("training.epochs=1"), tmp_path / "run")
    return tmp_path / "run"
