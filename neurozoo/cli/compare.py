"""``compare``: one model on several backends, or finished runs, side by side."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.common import DIFFERENT, MOST, Json, Split, answer, check_writable, write
from neurozoo.errors import UserError
from neurozoo.registry.registry import default_registry

if TYPE_CHECKING:
    from neurozoo.compare.entry_points import Plan
    from neurozoo.compare.result import Comparison
    from neurozoo.recipe.recipe import Recipe

__all__ = ["compare"]

DEFAULT_RECIPE = "smile_mosei_corrected"


def compare(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE] [KEY=VALUE]... | RUN RUN...",
            help=f"A recipe (default {DEFAULT_RECIPE}) and overrides; or run folders, without --backends.",
        ),
    ] = None,
    backends: Annotated[
        str | None, typer.Option("--backends", metavar="A,B", help="Two or more; the first is the reference.")
    ] = None,
    engines: Annotated[
        str | None, typer.Option("--engines", metavar="dense,A", help="Engines that run the layers, dense first.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="A run's best weights and data instead of a recipe's.")
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, max=MOST, help="How many batches, at most.")] = 4,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=MOST, help="Samples of a batch.")] = 16,
    split: Annotated[Split, typer.Option("--split", help="Where they are from.")] = Split.valid,
    repeats: Annotated[int, typer.Option("--repeats", min=1, max=MOST, help="How often each backend is timed.")] = 3,
    train: Annotated[bool, typer.Option("--train", help="Also train each from the same seed.")] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, max=MOST, help="For how many steps, with --train.")] = 20,
    device: Annotated[str | None, typer.Option("--device", help="Where; by default as the recipe says.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Allow runs on different data.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write it as a Markdown page.")] = None,
    json: Json = False,
) -> None:
    """Compare backends on one model, or line up finished runs.

    Backends get the same weights and samples: spikes, outputs, gradients, metrics, time and memory side by side, and a
    verdict. A backend that does not run the model's neurons is named with the reason. The exit status is 3 if one is
    not equivalent to the first. --engines compares who runs the layers of a model when it predicts, likewise.
    """
    given = words or []
    if engines is not None:
        if backends is not None or out is not None or train or mixed or device is not None:
            raise UserError("--engines takes --run, --batches, --batch-size, --split and --repeats alone")
        _compare_engines(given, engines, run, (batches, batch_size, split.value, repeats), json=json)
        return
    if backends is None:
        if run is not None or out is not None or train:
            raise UserError(
                "--run, --out and --train are for backends; give --backends torch,OTHER, "
                "or leave them out to line up runs"
            )
        _line_up(given, mixed=mixed, json=json)
        return
    if mixed:
        raise UserError("--mixed is for runs, which are lined up without --backends")
    # Keeps the profiler, which measures memory, from writing to the error output that it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    names = [name.strip() for name in backends.split(",") if name.strip()]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        problem = f"--backends {backends!r} names {len(set(names))}; give two or more different ones"
        raise UserError(f"{problem}, such as torch and one of a plugin; `neurozoo list backends` has them")
    check_writable(out)

    from neurozoo.compare.entry_points import Plan
    from neurozoo.reporting.backend_comparison import as_page, as_text

    plan = Plan(batches, batch_size, split.value, repeats, steps if train else 0, device)
    comparison = _compared(given, names, run, plan)
    if out is not None:
        write(out, as_page(comparison, _command(given, names, run, plan, out)))
    answer(json, comparison.to_dict(), as_text(comparison))
    if comparison.different:
        raise typer.Exit(DIFFERENT)


def _compare_engines(
    words: Sequence[str], engines: str, run: Path | None, plan: tuple[int, int, str, int], *, json: bool
) -> None:
    """Compare engines on a run or a recipe."""
    from neurozoo.cli.bars import progress_bar
    from neurozoo.compare.engines import compare_engines
    from neurozoo.compare.entry_points import Plan
    from neurozoo.reporting.engine_comparison import as_text

    names = [name.strip() for name in engines.split(",") if name.strip()]
    model = _model(words, run, "torch")
    with progress_bar() as on_progress:
        found = compare_engines(model, names, Plan(*plan), told=on_progress)
    answer(json, found.to_dict(), as_text(found))
    if found.different:
        raise typer.Exit(DIFFERENT)


def _compared(words: Sequence[str], names: Sequence[str], run: Path | None, plan: Plan) -> Comparison:
    """Compare backends on a run or a recipe; unknown backends are refused before any work is done."""
    from neurozoo.cli.bars import progress_bar
    from neurozoo.compare.entry_points import compare_model

    registry = default_registry()
    model = _model(words, run, names[0])
    for name in names:
        registry.resolve("neuron", name)
    with progress_bar() as on_progress:
        return compare_model(model, names, plan, registry=registry, told=on_progress)


def _model(words: Sequence[str], run: Path | None, backend: str) -> Recipe | Path:
    """Return the run, or the recipe that the words name."""
    from neurozoo.recipe.recipe import load_recipe

    if run is not None:
        if words:
            raise UserError(f"--run {run} has a recipe of its own; leave out {' '.join(words)}, or leave out --run")
        return run
    first, *rest = words or [DEFAULT_RECIPE]
    if (Path(first) / "recipe.yaml").is_file():
        raise UserError(f"{first} is a run; to compare backends on it, give --run {first}")
    recipe, overrides = (DEFAULT_RECIPE, [first, *rest]) if "=" in first else (first, rest)
    return load_recipe(recipe, overrides, backend=backend, registry=default_registry())


def _command(words: Sequence[str], names: Sequence[str], run: Path | None, plan: Plan, out: Path) -> str:
    """Return the command line that repeats a comparison."""
    default, command = type(plan)(), ["neurozoo", "compare", "--backends", ",".join(names), *words]
    command += ["--run", str(run)] if run is not None else []
    for name in ("batches", "batch_size", "split", "repeats", "device"):
        value = getattr(plan, name)
        command += [f"--{name.replace('_', '-')}", str(value)] if value != getattr(default, name) else []
    command += ["--train", "--steps", str(plan.train_steps)] if plan.train_steps else []
    return shlex.join([*command, "--out", str(out)])


def _line_up(words: Sequence[str], *, mixed: bool, json: bool) -> None:
    """Show finished runs side by side; no verdict."""
    if len(words) < 2 or any("=" in word for word in words):
        raise UserError(
            "without --backends, compare lines up finished runs: give two or more run folders; "
            "to compare backends on a recipe or on a --run, give --backends torch,OTHER"
        )

    from neurozoo.compare.runs import compare_runs
    from neurozoo.reporting.run_comparison import as_text

    result = compare_runs([Path(word) for word in words], mixed=mixed)
    answer(json, result.to_dict(), as_text(result))
