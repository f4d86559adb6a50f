"""``ablate``, ``results`` and ``tune``: many trainings of one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.options import Backend, Json, Overrides
from neurozoo.cli.output import emit
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import RunError
from neurozoo.reporting.tables import columns, number

if TYPE_CHECKING:
    from neurozoo.studies.intervals import Interval
    from neurozoo.studies.tuning import TuningResult

__all__ = ["ablate", "results", "tune"]


def ablate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe with a section `ablations`.")],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the runs; finished ones are used again.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds each variant is trained with.")] = 5,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trainings at a time, one thread each.")] = 1,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="This variant; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Train a recipe and its ablations over several seeds, and compare them in pairs."""
    from neurozoo.cli.progress import counted
    from neurozoo.studies.ablation import ablate as run

    folder = out or Path("runs") / f"ablate-{Path(recipe).stem}"
    with counted("training", as_json=json) as told:
        found = run(recipe, overrides or (), seeds=seeds, out=folder, jobs=jobs, only=only or (), told=told)
    if json:
        emit(found)
        return
    if found.synthetic:
        print(SYNTHETIC_NOTICE)
    heads = [*found.titles.values(), "lesion effect"]
    rows = [["mean over seeds (test)", *heads]]
    rows += [[name, *(number(means[c].mean, 3) for c in found.columns)] for name, means in found.means.items()]
    rows += [[each.name, *(number(each.metrics[c], 3) for c in found.titles), ""] for each in found.baselines]
    print(columns(rows))
    rows = [["minus full (95 % interval)", *heads]]
    for each in found.baselines:
        rows.append([each.name, *(_interval(each.differences[c]) for c in found.titles), ""])
    for name, by_column in found.differences.items():
        cells = (f"{_signed(by_column[c].mean)} ± {number(by_column[c].half_width, 3)}" for c in found.columns)
        rows.append([name, *cells])
    print(f"\n{columns(rows)}\n\nwritten: {folder / 'ablation.json'}")


def _interval(difference: Interval) -> str:
    return f"{_signed(difference.mean)} ({_signed(difference.low)} to {_signed(difference.high)})"


def _signed(value: float | None) -> str:
    return number(value, 3, signed=True)


def results(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that `ablate` wrote.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The page; printed by default.")] = None,
    json: Json = False,
) -> None:
    """Write finished ablations as one Markdown page."""
    from neurozoo.reporting.results_page import read_ablation, results_page

    if json:
        emit([read_ablation(folder) for folder in folders])
        return
    page = results_page(folders)
    if out is None:
        print(page)
    else:
        try:
            out.write_text(page, encoding="utf-8")
        except OSError as error:
            raise RunError(f"{out}: cannot be written: {error.strerror or error}; give another --out") from error
        print(f"written: {out}")


SHOWN = 10
"""How many of the best trials are shown."""


def tune(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe with a section `tune`.")],
    overrides: Overrides = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="How many trials there are to be in all, with those there are.")
    ] = 20,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="FILE|URL",
            help="Where trials are kept: a file (SQLite), a *.journal for a shared folder, or a database's URL; "
            "by default OUT/trials.db.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", metavar="NAME", help="Its name in the storage; by default the recipe's.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials at a time, one thread each.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the runs and best.json; gone on with if there.")
    ] = None,
    backend: Backend = None,
    json: Json = False,
) -> None:
    """Search a recipe's `tune.space` for what is best on the valid split; the test split stays closed.

    The same command again continues where it was interrupted, and others with the same --storage and --study take
    part. Trials that fail are noted, and the search continues.
    """
    from neurozoo.cli.progress import counted
    from neurozoo.studies.tuning import tune as run
    from neurozoo.studies.tuning.search import BEST, folder_of

    with counted("trial", as_json=json) as told:
        found = run(
            recipe,
            *(overrides or ()),
            trials=trials,
            storage=storage,
            study=study,
            jobs=jobs,
            out=out,
            backend=backend,
            told=told,
        )
    if json:
        emit(found.to_dict())
    else:
        print(f"{_text(found)}\n\nwritten: {(out or folder_of(found.study)) / BEST}")


def _text(found: TuningResult) -> str:
    above = f"{SYNTHETIC_NOTICE}\n" if found.synthetic else ""
    rows = [["trial", f"{found.metric} (valid)", "overrides"]]
    rows += [[str(each.number), number(each.value), " ".join(each.overrides)] for each in found.ranked[:SHOWN]]
    blocks = [above + columns(rows)]
    if found.importance:
        shares = [[path, f"{share:.0%}"] for path, share in found.importance.items()]
        blocks.append(above + columns([["what matters", "share"], *shares]))
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    blocks.append(f"{len(found.trials)} trials: {counts}; chosen on valid, test was not opened")
    if found.best is not None:
        blocks.append(f"the best, to be trained and measured:\n{found.command}")
    return "\n\n".join(blocks)
