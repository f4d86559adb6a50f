"""Compare backends on a recipe or on a trained run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from neurozoo.compare.backends import check_names, compare, declared
from neurozoo.compare.result import Comparison
from neurozoo.compare.sources import recipe_source, run_source
from neurozoo.compare.trajectory import train_side_by_side
from neurozoo.operations.profiling import Told
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training.train import own_random_numbers

__all__ = ["Plan", "compare_backends", "compare_model"]


@dataclass(frozen=True)
class Plan:
    """How much is compared.

    Attributes:
        batches: Number of batches, at most.
        batch_size: Samples of each.
        split: Where they are from: ``valid``, ``train`` or ``test``.
        repeats: Number of timed passes of each backend.
        train_steps: Number of steps for which each backend is also trained; 0 for none.
        device: Where the models run; None for the recipe's.
    """

    batches: int = 4
    batch_size: int = 16
    split: str = "valid"
    repeats: int = 3
    train_steps: int = 0
    device: str | None = None


def compare_backends(
    recipe: str | Path | Recipe | Mapping[str, Any],
    backends: Sequence[str],
    *overrides: str,
    batches: int = 4,
    batch_size: int = 16,
    split: str = "valid",
    repeats: int = 3,
    train_steps: int = 0,
) -> Comparison:
    """Run the same weights and the same samples on several backends.

    Args:
        recipe: A recipe, its file, the name of a shipped one, or the content of a file as a dictionary.
        backends: Two or more registered backends; the first is the reference.
        overrides: ``key.sub=value``, the value in YAML.
        batches: Number of batches, at most.
        batch_size: Samples of each.
        split: Where they are from: ``valid``, ``train`` or ``test``.
        repeats: Number of timed passes of each backend.
        train_steps: Number of steps for which each backend is also trained; 0 for none.

    Raises:
        UserError: The recipe or a backend cannot be used.
    """
    checked = load_recipe(recipe, overrides, registry=default_registry())
    return compare_model(checked, backends, Plan(batches, batch_size, split, repeats, train_steps))


def compare_model(
    model: Recipe | Path,
    backends: Sequence[str],
    plan: Plan | None = None,
    *,
    registry: Registry | None = None,
    told: Told = lambda what, done, of: None,
) -> Comparison:
    """Compare backends on a recipe's model, or on a trained model's weights, data and decision.

    Args:
        model: A checked recipe, see ``neurozoo.compare.sources.recipe_source``; or a run folder, a packed one, or the
            name of a model that comes with neurozoo.
        backends: Two or more; the first is the reference.
        plan: How much is compared; training starts from a run's weights.
        registry: Where backends are looked up; by default all that is installed.
        told: Gets the progress.

    Raises:
        UserError: A backend is not known, a run or its data cannot be used, or there is neither data nor its shapes.
    """
    registry, plan = registry or default_registry(), plan or Plan()
    check_names(backends)
    with own_random_numbers(model if isinstance(model, Recipe) else open_trained(model).recipe):
        if isinstance(model, Recipe):
            source = recipe_source(model, backends[0], registry=registry, device=plan.device)
        else:
            source = run_source(model, registry=registry, device=plan.device)
        chosen = [declared(name, registry) for name in backends]
        samples = source.batches(plan.split, plan.batches, plan.batch_size)
        found = compare(
            source.build, samples, chosen, task=source.task, repeats=plan.repeats, decision=source.decision, told=told
        )
        chosen = [backend for backend in chosen if backend.name not in found.refused]
        training = train_side_by_side(source, chosen, steps=plan.train_steps, told=told) if plan.train_steps else None
    data = source.setting.data + ("" if source.view is None else f", split {plan.split}")
    return replace(found, setting=replace(source.setting, data=data), training=training)
