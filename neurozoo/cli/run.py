"""``train``, ``evaluate`` and ``verify``: make a run folder, measure it again, compare with what it published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import DIFFERENT, MOST, Backend, DataRoot, Json, Overrides, Run, Split, answer, plain
from neurozoo.cli.launching import LauncherName, LauncherOptions, Retries, launcher_of
from neurozoo.cli.streams import say
from neurozoo.errors import UserError
from neurozoo.reporting.summaries import seeds_lines, summary_lines

__all__ = ["evaluate", "train", "verify"]


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="A recipe's file, or the name of a shipped one.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    overrides: Overrides = None,
    backend: Backend = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN", help="The run folder; new or empty.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="One step on made-up data of the right shape; writes nothing.")
    ] = False,
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Continue an unfinished run.")] = None,
    start: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Begin with the weights of a trained model.")
    ] = None,
    close: Annotated[
        list[str] | None,
        typer.Option(
            "--close", metavar="SPLIT", help="A split that this run and later commands on it may not open; repeatable."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", min=1, max=MOST, help="Train with this many seeds, into OUT/SEED and OUT/seeds.json."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=1024, help="With --seeds: trainings at a time; by default one a core."),
    ] = None,
    launcher: LauncherName = None,
    launcher_options: LauncherOptions = None,
    retries: Retries = None,
    data_root: DataRoot = None,
    json: Json = False,
) -> None:
    """Train a recipe's model into a run folder, or continue a run.

    A resumed run ends as if it had never stopped: with the same weights and the same metrics.jsonl. If its data has
    moved, --data-root names the store.

    With --from RUN the training begins with that model's weights and statistics instead of random weights.

    With --seeds N it is repeated for the recipe's seed and the N - 1 after it, one thread each, and the spread of
    every number is shown. The same command again continues where it was interrupted. With --launcher slurm or dask the
    trainings run on a cluster.

    With --json the summary is printed at the end, and the progress goes to the standard error
    output, one JSON object a line.
    """
    from neurozoo.cli.progress import JsonListener, RichListener
    from neurozoo.recipe.recipe import load_recipe
    from neurozoo.registry.registry import default_registry

    several = {
        "--jobs": jobs, "--launcher": launcher, "--launcher-options": launcher_options or None, "--retries": retries,
    }  # fmt: skip
    listener = JsonListener() if json else RichListener()
    if resume is not None:
        if any(
            given not in (None, False, [])
            for given in (recipe, backend, out, dry_run, start, close, seeds, *several.values())
        ):
            raise UserError(f"--resume {resume} continues as the run began; leave out the recipe and all other options")
        from neurozoo.training.train import resume as continue_run

        _show(continue_run(resume, listener=listener, data_root=data_root), json)
        return
    if data_root is not None:
        raise UserError(f"--data-root {data_root} is for --resume; give data.root={data_root} to a new training")
    if recipe is None:
        raise UserError("no recipe is named; `neurozoo list recipes` shows them; --resume RUN continues a run")
    if seeds is not None:
        if dry_run:
            raise UserError("--dry-run is one step of one training; leave out --seeds")
        if start is not None:
            raise UserError("--from is where one training begins; leave out --seeds")
        if close:
            raise UserError("--close is for one training; leave out --seeds")
        from neurozoo.cli.bars import counted
        from neurozoo.studies.seeds import FILE, train_seeds

        options: dict[str, Any] = {"seeds": seeds, "out": out, "jobs": jobs, "backend": backend}
        options["launcher"] = launcher_of(launcher, launcher_options, retries)
        with counted("training", as_json=json) as on_progress:
            result = train_seeds(recipe, *(overrides or ()), **options, on_progress=on_progress)
        answer(json, result, f"{seeds_lines(result)}\n\nwritten: {Path(result.folder) / FILE}")
        return
    for option, given in several.items():
        if given is not None:
            threads = ", or set training.threads for one" if option == "--jobs" else ""
            value = " ".join(given) if isinstance(given, list) else given
            raise UserError(f"{option} {value} is for several trainings; give --seeds N{threads}")
    checked = load_recipe(recipe, overrides or (), backend=backend, registry=default_registry())
    if checked.was_fastest and checked.backend == "torch" and not json:
        say(
            f"note: backend fastest is torch here, as no fused one for the device {checked.training.device} is "
            "installed; neurozoo-numba is one for CPUs",
            error=True,
        )

    import neurozoo.training.train as training
    from neurozoo.runs.trained_folder import open_trained

    begun = None if start is None else open_trained(start)
    if not dry_run:
        closed: dict[str, Any] = {"closed": close} if close else {}
        _show(training.train(checked, out=out, listener=listener, start=begun, **closed), json)
        return
    summary = training.dry_run(checked)
    lines = [f"dry run of {checked.name}: one step on made-up data went well; nothing was written"]
    lines += [f"  {name}: {value}" for name, value in summary.items() if name != "dry_run"]
    answer(json, summary, "\n".join(lines))


def _show(summary: Mapping[str, Any], json: bool) -> None:
    from neurozoo.core.processes import rank
    from neurozoo.reporting.runs.conclusions import conclusion_lines

    if rank() == 0:  # of several processes the first prints
        lines = [] if json else ["", *conclusion_lines(Path(summary["run"]))]
        answer(json, summary, "\n".join(["", summary_lines(summary), *lines]))


def evaluate(
    run: Run,
    split: Annotated[Split, typer.Option("--split", help="Which samples.")] = Split.test,
    backend: Backend = None,
    data_root: DataRoot = None,
    shuffle_steps: Annotated[
        int | None,
        typer.Option(
            "--shuffle-steps",
            metavar="SEED",
            min=0,
            max=2**32 - 1,
            help="Put each sample's positions in another order.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a run's best weights again, on any backend.

    With --shuffle-steps it shows what the order in time is worth to the model.
    Each measurement is appended to the run's evaluations.jsonl.
    """
    from neurozoo.evaluation.evaluate import evaluate_run

    result = evaluate_run(run, split=split.value, backend=backend, data_root=data_root, shuffle_steps=shuffle_steps)
    answer(json, result, summary_lines(result))


def verify(
    run: Run,
    backend: Backend = None,
    data_root: DataRoot = None,
    tolerance: Annotated[
        float | None, typer.Option("--tolerance", min=0.0, help="How far a number may be off; by default 1e-6.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a run again, and compare with the numbers that it published.

    The exit status is 3 if one differs, or if the data is not what the run was trained on.
    """
    from neurozoo.evaluation.verify import TOLERANCE, verify_run

    tolerance = TOLERANCE if tolerance is None else tolerance
    result = verify_run(run, backend=backend, data_root=data_root, tolerance=tolerance)
    lines = [f"{each.split} {each.name}: published {each.published}, now {each.now}" for each in result.differing]
    if not result.same_data:
        lines.append(
            f"{run}: the data is not what it was trained on; its checksum differs, or "
            "`neurozoo data check` finds it changed"
        )
    verdict = f"all {len(result.numbers)} published numbers come back" if result.verified else "not verified"
    lines.append(f"{run}: {verdict}, on {result.backend}, to {result.tolerance:g}")
    answer(json, {**plain(result), "verified": result.verified}, "\n".join(lines))
    if not result.verified:
        raise typer.Exit(DIFFERENT)
