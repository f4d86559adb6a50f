"""``ablate``, ``tune``, ``reproduce``, and ``collect`` and ``results``: many trainings, and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import FAILED, MOST, Backend, Json, Overrides, answer, check_writable, emit, plain, write
from neurozoo.cli.launching import Jobs, LauncherName, LauncherOptions, Retries, launcher_of
from neurozoo.cli.streams import say
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import columns, number

if TYPE_CHECKING:
    from neurozoo.studies.ablation import Ablation
    from neurozoo.studies.plan import Outcome, Page
    from neurozoo.studies.tuning import TuningResult

__all__ = ["ablate", "collect", "reproduce", "results", "tune"]

SHOWN = 10
"""How many of the best trials are shown."""


def ablate(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE", help="A recipe with a section `ablations`.", autocompletion=completion.recipes
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the runs; finished ones are used again.")
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=MOST, help="How many seeds each variant is trained with.")
    ] = 5,
    jobs: Jobs = None,
    launcher: LauncherName = None,
    launcher_options: LauncherOptions = None,
    retries: Retries = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="This variant, or full for none; repeatable.")
    ] = None,
    time: Annotated[
        bool,
        typer.Option(
            "--time", help="Measure each model with time shuffled at test too, and its operations and milliseconds."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Train a recipe and its ablations over several seeds, and compare them in pairs."""
    from neurozoo.cli.bars import counted
    from neurozoo.studies.ablation import ablate as run

    where = launcher_of(launcher, launcher_options, retries)
    with counted("training", as_json=json) as on_progress:
        result = run(
            recipe,
            overrides or (),
            seeds=seeds,
            out=out,
            jobs=jobs,
            only=only or (),
            time=time,
            on_progress=on_progress,
            launcher=where,
        )
    answer(json, result, f"{_ablation_text(result)}\n\nwritten: {Path(result.folder) / 'ablation.json'}")


def _ablation_text(result: Ablation) -> str:
    def signed(value: float | None) -> str:
        return number(value, 3, signed=True)

    scores, names, heads = list(result.titles), result.columns, [*result.titles.values(), "lesion effect"]
    means = [["mean over seeds (test)", *heads]]
    means += [[name, *(number(by[c].mean, 3) for c in names)] for name, by in result.means.items()]
    means += [[each.name, *(number(each.metrics[c], 3) for c in scores), ""] for each in result.baselines]
    minus = [["minus full (95 % interval)", *heads]]
    for each in result.baselines:
        found = (each.differences[c] for c in scores)
        minus.append([each.name, *(f"{signed(d.mean)} ({signed(d.low)} to {signed(d.high)})" for d in found), ""])
    for name, by in result.differences.items():
        minus.append([name, *(f"{signed(by[c].mean)} ± {number(by[c].half_width, 3)}" for c in names)])
    notice = f"{SYNTHETIC_NOTICE}\n" if result.synthetic else ""
    return f"{notice}{columns(means)}\n\n{columns(minus)}"


def collect(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Run folders, or folders that hold them at any depth.")
    ],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write the numbers, as JSON.")] = None,
    json: Json = False,
) -> None:
    """Make a study's table from finished runs, however they were started: a job array, a shell script, by hand.

    Runs whose recipes differ in nothing but the seed form a row. Unfinished runs are named.
    """
    from json import dumps

    from neurozoo.reporting.summaries import collection_lines
    from neurozoo.studies.collect import collect as run

    check_writable(out)
    result = run(folders)
    text = collection_lines(result)
    if out is not None:
        write(out, dumps(plain(result), indent=2) + "\n")
        text += f"\n\nwritten: {out}"
    answer(json, result, text)


def results(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that `ablate` wrote.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The page; printed by default.")] = None,
    time: Annotated[
        bool, typer.Option("--time", help="The page on time and spikes, of ablations made with --time.")
    ] = False,
    json: Json = False,
) -> None:
    """Write finished ablations as one Markdown page."""
    from neurozoo.reporting.results_page import read_ablation, results_page
    from neurozoo.reporting.time_page import time_page

    check_writable(out)
    page = time_page if time else results_page
    if json:
        emit([read_ablation(folder) for folder in folders])
    elif out is None:
        say(page(folders))
    else:
        write(out, page(folders))
        say(f"written: {out}")


def reproduce(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="Pages, and the studies or arena that each shows.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="For the runs; finished ones are used again.")
    ] = Path("runs/results"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Files that missing data sets are imported from, as the plan says."),
    ] = None,
    pages: Annotated[
        Path | None, typer.Option("--pages", metavar="DIR", help="Where the pages go; by default next to the plan.")
    ] = None,
    jobs: Jobs = None,
    launcher: LauncherName = None,
    launcher_options: LauncherOptions = None,
    retries: Retries = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="This study; repeatable. Writes no pages.")
    ] = None,
    json: Json = False,
) -> None:
    """Train every study of a plan whose data is here, and write its pages of results.

    A page is written when its last study has ended. Studies whose data is missing are skipped and named, on the page
    too. The same command again continues where it was interrupted. The exit status is 1 if a study failed.
    """
    from neurozoo.cli.bars import counted
    from neurozoo.reporting.arena_page import arena_markdown
    from neurozoo.reporting.results_page import results_page
    from neurozoo.reporting.time_page import time_page
    from neurozoo.studies.plan import ArenaPage, read_plan, run_plan

    wanted, where = read_plan(plan), launcher_of(launcher, launcher_options, retries)
    folder, written = pages or plan.parent, list[Path]()
    for each in wanted.pages if not only else ():
        check_writable(folder / each.file)

    def write_page(page: Page | ArenaPage, outcome: Outcome) -> None:
        if isinstance(page, ArenaPage):
            if page.called not in outcome.arenas:
                return
            text = arena_markdown(outcome.arenas[page.called])
        else:
            names = [study.called for study in page.studies]
            folders = [outcome.finished[name] for name in names if name in outcome.finished]
            if not folders:
                return
            missing = {**outcome.skipped, **{name: f"failed: {text}" for name, text in outcome.failed.items()}}
            lacks = {name: missing[name] for name in names if name in missing}
            text = (time_page if page.time else results_page)(folders, lacks)
        written.append(folder / page.file)
        write(written[-1], text)
        say(f"written: {written[-1]}", error=True)

    with counted("training", as_json=json) as on_progress:
        outcome = run_plan(
            wanted, out, sources=data, jobs=jobs, only=only or (), on_progress=on_progress,
            on_study=lambda text: say(text, error=True), on_page=write_page, launcher=where,
        )  # fmt: skip
    answer(json, {**plain(outcome), "pages": written}, _outcome_text(outcome, written))
    if outcome.failed:
        raise typer.Exit(FAILED)


def _outcome_text(outcome: Outcome, written: Sequence[Path]) -> str:
    rows = [
        [name, f"{minutes:.1f} minutes of training{', before this call' if name in outcome.again else ''}"]
        for name, minutes in outcome.minutes.items()
    ]
    rows += [[name, f"skipped: {reason}"] for name, reason in outcome.skipped.items()]
    rows += [[name, f"failed: {reason}"] for name, reason in outcome.failed.items()]
    total = sum(outcome.minutes.values())
    counts = f"{len(outcome.finished)} finished, {len(outcome.skipped)} skipped, {len(outcome.failed)} failed"
    lines = [columns(rows), f"{counts}; {total:.1f} minutes of training in all, this call {outcome.seconds / 60:.1f}"]
    return "\n".join([*lines, *(f"written: {path}" for path in written)])


def tune(
    recipe: Annotated[
        str,
        typer.Argument(metavar="RECIPE", help="A recipe with a section `tune`.", autocompletion=completion.recipes),
    ],
    overrides: Overrides = None,
    trials: Annotated[
        int,
        typer.Option(
            "--trials", min=1, max=MOST, help="The number of trials in all, with those that are there already."
        ),
    ] = 20,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="FILE|URL",
            help="Where trials are kept: a file (SQLite), a *.journal for a shared folder, or a database's URL; "
            "by default OUT/trials.db, on a cluster OUT/trials.journal.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", metavar="NAME", help="Its name in the storage; by default the recipe's.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, max=1024, help="Processes that share the search, one thread each; by default 1."),
    ] = None,
    launcher: LauncherName = None,
    launcher_options: LauncherOptions = None,
    retries: Retries = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the runs and best.json; continued if it is there.")
    ] = None,
    backend: Backend = None,
    json: Json = False,
) -> None:
    """Search a recipe's `tune.space` for what is best on the valid split; the test split stays closed.

    The same command again continues where it was interrupted, and others with the same --storage and --study take
    part. Trials that fail are noted, and the search continues.
    """
    from neurozoo.cli.bars import counted
    from neurozoo.studies.tuning import tune as run
    from neurozoo.studies.tuning.search import BEST

    where = launcher_of(launcher, launcher_options, retries)
    with counted("trial", as_json=json) as on_progress:
        result = run(
            recipe, *(overrides or ()),
            trials=trials, storage=storage, study=study, jobs=jobs, out=out, backend=backend, on_progress=on_progress,
            launcher=where,
        )  # fmt: skip
    answer(json, result.to_dict(), f"{_tuning_text(result)}\n\nwritten: {Path(result.folder) / BEST}")


def _tuning_text(result: TuningResult) -> str:
    notice = f"{SYNTHETIC_NOTICE}\n" if result.synthetic else ""
    rows = [["trial", f"{result.metric} (valid)", "overrides"]]
    rows += [[str(each.number), number(each.value), " ".join(each.overrides)] for each in result.ranked[:SHOWN]]
    blocks = [notice + columns(rows)]
    if result.importance:
        shares = [[path, f"{share:.0%}"] for path, share in result.importance.items()]
        blocks.append(notice + columns([["what matters", "share"], *shares]))
    counts = ", ".join(f"{count} {state}" for state, count in result.counts.items())
    blocks.append(f"{len(result.trials)} trials: {counts}; chosen on valid, test was not opened")
    if result.best is not None:
        blocks.append(f"the best, to be trained and measured:\n{result.command}")
    return "\n\n".join(blocks)
