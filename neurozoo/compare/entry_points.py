"""Compare backends on a recipe or on a trained run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from neurozoo.compare.backends import check_names, compare, declared
from neurozoo.compare.result import Comparison
from neurozoo.compare.sources import Source, recipe_source, run_source
from neurozoo.compare.trajectory import train_side_by_side
from neurozoo.operations.profiling import Told
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.trained_folder import open_trained
from neurozoo.training.train import own_random_numbers

__all__ = ["Plan", "compare_backends", "compare_recipe", "compare_run"]


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
    recipe: str | Path | Recipe,
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
        recipe: A recipe, its file, or the name of a shipped one.
        backends: Two or more registered backends; the first is the reference.
        overrides: ``key.sub=value``, the value in YAML.
        batches: As for :class:`Plan`, like what follows.
        batch_size: Samples of each.
        split: Where they are from.
        repeats: Number of timed passes.
        train_steps: Steps of training.

    Raises:
        UserError: The recipe or a backend cannot be used.
    """
    checked = load_recipe(recipe, overrides, registry=default_registry())
    return compare_recipe(checked, backends, Plan(batches, batch_size, split, repeats, train_steps))


def compare_recipe(
    recipe: Recipe,
    backends: Sequence[str],
    plan: Plan | None = None,
    *,
    registry: Registry | None = None,
    told: Told = lambda what, done, of: None,
) -> Comparison:
    """Compare backends on a recipe's model and samples of its data; see ``neurozoo.compare.sources.recipe_source``.

    Args:
        recipe: A checked recipe.
        backends: Two or more; the first is the reference.
        plan: How much is compared.
        registry: Where backends are looked up; by default all that is installed.
        told: Gets the progress.

    Raises:
        UserError: A backend is not known, or there is neither data nor its shapes.
    """
    registry, plan = registry or default_registry(), plan or Plan()
    check_names(backends)
    with own_random_numbers(recipe):
        source = recipe_source(recipe, backends[0], registry=registry, device=plan.device)
        return _compared(source, backends, plan, told)


def compare_run(
    run: Path,
    backends: Sequence[str],
    plan: Plan | None = None,
    *,
    registry: Registry | None = None,
    told: Told = lambda what, done, of: None,
) -> Comparison:
    """Compare backends on a trained model's weights, data and decision.

    Args:
        run: A run folder, a packed one, or the name of a model that comes with neurozoo.
        backends: As for :func:`compare_recipe`, like what follows.
        plan: How much is compared; training starts from the run's weights.
        registry: Where backends are looked up.
        told: Gets the progress.

    Raises:
        UserError: The run, its data or a backend cannot be used.
    """
    registry, plan = registry or default_registry(), plan or Plan()
    check_names(backends)
    with own_random_numbers(open_trained(run).recipe):
        return _compared(run_source(run, registry=registry, device=plan.device), backends, plan, told)


def _compared(source: Source, names: Sequence[str], plan: Plan, told: Told) -> Comparison:
    backends = [declared(name, source.registry) for name in names]
    samples = source.batches(plan.split, plan.batches, plan.batch_size)
    found = compare(
        source.build, samples, backends, task=source.task, repeats=plan.repeats, decision=source.decision, told=told
    )
    backends = [backend for backend in backends if backend.name not in found.refused]
    training = train_side_by_side(source, backends, steps=plan.train_steps, told=told) if plan.train_steps else None
    data = source.setting.data + ("" if source.view is None else f", split {plan.split}")
    return replace(found, setting=replace(source.setting, data=data), training=training)
