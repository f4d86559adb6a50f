"""Training by a recipe's name: the way in from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.training import fit
from neurozoo.training.reporter import Reporter

__all__ = ["train"]


def train(
    recipe: str | Path | Recipe,
    *overrides: str,
    out: str | Path | None = None,
    backend: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train a recipe's model into a new run folder.

    Args:
        recipe: A recipe, its file, or the name of a shipped one.
        overrides: ``key.sub=value``, the value in YAML.
        out: The run folder; by default a new one under ``runs/``.
        backend: Another backend than the recipe's.
        reporter: Receives the progress; by default nothing does.

    Returns:
        What the run's ``summary.json`` holds; its folder is ``["run"]``.

    Raises:
        UserError: The recipe, the data or the run folder cannot be used.
        NeurozooError: Training failed, for instance by a loss that is not finite.

    Example:
        >>> summary = neurozoo.train("smile_mosei_sound", "training.epochs=3", out="runs/first")
    """
    checked = load_recipe(recipe, overrides, backend=backend, registry=default_registry())
    return fit.train(checked, None if out is None else Path(out), reporter=reporter)
