"""``compare``: the same weights and batch on several backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit
from neurozoo.errors import UserError
from neurozoo.registry import Registry, default_registry

__all__ = ["compare"]

DIFFERENT = 3
DEFAULT_RECIPE = "smile_mosei_sound"


def compare(
    backends: Annotated[
        str, typer.Option("--backends", metavar="A,B", help="Two or more; the first is the reference.")
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help=f"A recipe (default {DEFAULT_RECIPE}) and overrides."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples of the batch.")] = 16,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often each backend is timed.")] = 3,
    json: Json = False,
) -> None:
    """Compare backends: spikes, logits, gradients and time. The exit status is 3 where they differ."""
    names = [name.strip() for name in backends.split(",") if name.strip()]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        problem = f"--backends {backends!r} names {len(set(names))}; give two or more different ones"
        raise UserError(f"{problem}, such as torch and one of a plugin; `neurozoo list backends` has them")
    first, *rest = words or [DEFAULT_RECIPE]
    recipe, overrides = (DEFAULT_RECIPE, [first, *rest]) if "=" in first else (first, rest)

    from neurozoo.recipe import load_recipe

    registry = default_registry()
    checked = load_recipe(recipe, overrides, backend=names[0], registry=registry)
    check_backends(names, registry)

    from neurozoo.compare import compare_recipe

    comparison = compare_recipe(checked, names, batch_size=batch_size, repeats=repeats)
    if json:
        emit(comparison.to_dict())
    else:
        print(comparison)
    if comparison.different:
        raise typer.Exit(DIFFERENT)


def check_backends(names: Sequence[str], registry: Registry) -> None:
    """Refuse a backend that is unknown or cannot be imported, before any work is done.

    Raises:
        NeurozooError: One of them cannot be used.
    """
    for name in names:
        registry.resolve("backend", name)
