"""``runs``: the runs of a folder as a table, one of them on a screen, and what of them can be deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.common import FAILED, MOST, Json, answer
from neurozoo.errors import RunError

__all__ = ["app"]

app = typer.Typer(help="List runs, show one, and delete what is not needed.", rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(metavar="[DIR]", help="Holds runs, at any depth; by default runs.")]


@app.command("list")
def list_(
    folder: Folder = Path("runs"),
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="COLUMN", help="A metric, best first, such as map or test_map; or any column."),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order of --sort round.")] = False,
    columns: Annotated[
        str | None,
        typer.Option("--columns", metavar="A,B", help="These instead; also a recipe's, such as training.epochs."),
    ] = None,
    conditions: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Only these runs; KEY!=VALUE for the others; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs in a folder and below it.

    A metric without a split is that of valid, on which runs are chosen. Runs that were not finished show their best
    epoch by now. A VALUE may hold * for any text. Damaged runs are listed with the reason.
    """
    from neurozoo.reporting.runs.runs_text import runs_lines
    from neurozoo.runs.table import runs_below

    table = runs_below(folder).where(*(conditions or ()))
    if sort is not None:
        table = table.sorted_by(sort, reverse=reverse)
    chosen = [name for each in (columns or "").split(",") if (name := each.strip())]
    keys = [table.column(name) for name in chosen]
    rows = [
        {"run": row.values["run"], **{key: table.value(row, key) for key in keys}} if keys else dict(row.values)
        for row in table.rows
    ]
    answer(json, {"folder": folder, "runs": rows}, "" if json else runs_lines(table, chosen=chosen, sort=sort))


@app.command("show")
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, finished or not.")],
    json: Json = False,
) -> None:
    """Show a run: recipe, data, scores with intervals, time, warnings, and what to do next."""
    from neurozoo.reporting.runs.run_overview import overview_lines, run_overview

    found = run_overview(run)
    answer(json, found, overview_lines(found))
    if "problem" in found:
        raise RunError(f"{run}: is damaged: {found['problem']}")


@app.command("prune")
def prune(
    folder: Folder = Path("runs"),
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Not changed for so long: 12h, 30d, 2w.")
    ] = None,
    interrupted: Annotated[bool, typer.Option("--interrupted", help="Not finished, and nobody trains in it.")] = False,
    keep_best: Annotated[
        int | None,
        typer.Option("--keep-best", metavar="N", min=1, max=MOST, help="Finished, and not among the best N."),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="METRIC", help="With --keep-best; by default the task's main one.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Only checkpoints that finished runs no longer need, not the runs.")
    ] = False,
    studies: Annotated[bool, typer.Option("--studies", help="Runs of studies too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; otherwise only list what would be.")] = False,
    json: Json = False,
) -> None:
    """Delete the runs in a folder that meet every given criterion; without --yes only list them.

    The best N are counted on each data set alone, on valid if METRIC names no split. Runs in which a process trains,
    damaged ones, folders with other files, and what lies behind links are kept, and named. Exit status 1 if
    something could not be deleted.
    """
    from neurozoo.cli.bars import progress_bar
    from neurozoo.reporting.runs.runs_text import prune_lines
    from neurozoo.runs.prune import Criteria, age, plan_prune
    from neurozoo.runs.prune import prune as delete

    old = None if older_than is None else age(older_than)
    plan = plan_prune(folder, Criteria(old, interrupted, keep_best, by, checkpoints, studies))
    done = plan
    if yes and plan.removals:
        with progress_bar() as on_progress:
            done = delete(plan, on_progress=on_progress)
    answer(json, done.to_dict(), prune_lines(done))
    if len(done.kept) > len(plan.kept):
        raise typer.Exit(FAILED)
