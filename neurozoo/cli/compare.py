"""``compare``: one model on several backends, or finished runs, side by side."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit, write
from neurozoo.cli.run import Split
from neurozoo.errors import UserError
from neurozoo.registry.registry import Registry, default_registry

if TYPE_CHECKING:
    from neurozoo.compare import Comparison, Plan

__all__ = ["compare"]

DIFFERENT = 3
DEFAULT_RECIPE = "smile_mosei_sound"


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
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="A run's best weights and data instead of a recipe's.")
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, help="How many batches, at most.")] = 4,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples of a batch.")] = 16,
    split: Annotated[Split, typer.Option("--split", help="Where they are from.")] = Split.valid,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="How often each backend is timed.")] = 3,
    train: Annotated[bool, typer.Option("--train", help="Train each from the same seed as well.")] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, help="For how many steps, with --train.")] = 20,
    device: Annotated[str | None, typer.Option("--device", help="Where; by default as the recipe says.")] = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Line up runs on different data all the same.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it as a Markdown page as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare backends on one model, or line up finished runs.

    Backends get the same weights and samples: spikes, outputs, gradients, metrics, time and memory side by side, and a
    verdict. A backend that does not run the model's neurons is named with the reason. The exit status is 3 where one is
    not equivalent to the first.
    """
    given = words or []
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
    # The profiler, which measures memory, would say on the error output that it starts, and that
    # tensors from before it are released.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    names = _names(backends)

    from neurozoo.compare import Plan

    plan = Plan(batches, batch_size, split.value, repeats, steps if train else 0, device)
    asked = _Asked(given, names, run, plan)
    comparison = asked.compared(default_registry())
    if out is not None:
        from neurozoo.reporting.backend_comparison import as_page

        write(out, as_page(comparison, asked.command(out)))
    if json:
        emit(comparison.to_dict())
    else:
        from neurozoo.reporting.backend_comparison import as_text

        print(as_text(comparison))
    if comparison.different:
        raise typer.Exit(DIFFERENT)


@dataclass(frozen=True)
class _Asked:
    """What is to be compared on which backends."""

    words: Sequence[str]
    names: Sequence[str]
    run: Path | None
    plan: Plan

    def compared(self, registry: Registry) -> Comparison:
        """The comparison, with its progress on the error output."""
        if self.run is not None:
            if self.words:
                raise UserError(
                    f"--run {self.run} has a recipe of its own; leave out {' '.join(self.words)}, or leave out --run"
                )
            check_backends(self.names, registry)

            from neurozoo.cli.progress import progress_bar
            from neurozoo.compare import compare_run

            with progress_bar() as told:
                return compare_run(self.run, self.names, self.plan, registry=registry, told=told)

        from neurozoo.recipe.recipe import load_recipe

        first, *rest = self.words or [DEFAULT_RECIPE]
        if (Path(first) / "recipe.yaml").is_file():
            raise UserError(f"{first} is a run; to compare backends on it, give --run {first}")
        recipe, overrides = (DEFAULT_RECIPE, [first, *rest]) if "=" in first else (first, rest)
        checked = load_recipe(recipe, overrides, backend=self.names[0], registry=registry)
        check_backends(self.names, registry)

        from neurozoo.cli.progress import progress_bar
        from neurozoo.compare import compare_recipe

        with progress_bar() as told:
            return compare_recipe(checked, self.names, self.plan, registry=registry, told=told)

    def command(self, out: Path) -> str:
        """How to do it again."""
        default, words = type(self.plan)(), ["neurozoo", "compare", "--backends", ",".join(self.names), *self.words]
        words += ["--run", str(self.run)] if self.run is not None else []
        for name in ("batches", "batch_size", "split", "repeats", "device"):
            value = getattr(self.plan, name)
            words += [f"--{name.replace('_', '-')}", str(value)] if value != getattr(default, name) else []
        words += ["--train", "--steps", str(self.plan.train_steps)] if self.plan.train_steps else []
        return shlex.join([*words, "--out", str(out)])


def check_backends(names: Sequence[str], registry: Registry) -> None:
    """Refuse a backend that is unknown or cannot be imported, before any work is done.

    Raises:
        NeurozooError: One of them cannot be used.
    """
    for name in names:
        registry.resolve("neuron", name)


def _names(backends: str) -> list[str]:
    names = [name.strip() for name in backends.split(",") if name.strip()]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        problem = f"--backends {backends!r} names {len(set(names))}; give two or more different ones"
        raise UserError(f"{problem}, such as torch and one of a plugin; `neurozoo list backends` has them")
    return names


def _line_up(words: Sequence[str], *, mixed: bool, json: bool) -> None:
    """Finished runs side by side; no verdict."""
    if len(words) < 2 or any("=" in word for word in words):
        raise UserError(
            "without --backends, compare lines up finished runs: give two or more run folders; "
            "to compare backends on a recipe or on a --run, give --backends torch,OTHER"
        )

    from neurozoo.compare.runs import compare_runs

    found = compare_runs([Path(word) for word in words], mixed=mixed)
    if json:
        emit(found.to_dict())
    else:
        from neurozoo.reporting.run_comparison import as_text

        print(as_text(found))
