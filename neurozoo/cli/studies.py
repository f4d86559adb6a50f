"""``ablate``, ``results`` and ``tune``: many trainings of one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import MOST, Backend, Json, Overrides, answer, check_writable, emit, write
from neurozoo.cli.streams import say
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import columns, number

if TYPE_CHECKING:
    from neurozoo.studies.ablation import Ablation
    from neurozoo.studies.tuning import TuningResult

__all__ = ["ablate", "results", "tune"]

Jobs = Annotated[int, typer.Option("--jobs", min=1, max=1024, help="Trainings at a time, one thread each.")]

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
    jobs: Jobs = 1,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="This variant; repeatable.")] = None,
    json: Json = False,
) -> None:
    """Train a recipe and its ablations over several seeds, and compare them in pairs."""
    from neurozoo.cli.bars import counted
    from neurozoo.studies.ablation import ablate as run

    with counted("training", as_json=json) as on_progress:
        result = run(recipe, overrides or (), seeds=seeds, out=out, jobs=jobs, only=only or (), on_progress=on_progress)
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


def results(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders that `ablate` wrote.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The page; printed by default.")] = None,
    json: Json = False,
) -> None:
    """Write finished ablations as one Markdown page."""
    from neurozoo.reporting.results_page import read_ablation, results_page

    check_writable(out)
    if json:
        emit([read_ablation(folder) for folder in folders])
    elif out is None:
        say(results_page(folders))
    else:
        write(out, results_page(folders))
        say(f"written: {out}")


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
            "by default OUT/trials.db.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", metavar="NAME", help="Its name in the storage; by default the recipe's.")
    ] = None,
    jobs: Jobs = 1,
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

    with counted("trial", as_json=json) as on_progress:
        result = run(
            recipe, *(overrides or ()),
            trials=trials, storage=storage, study=study, jobs=jobs, out=out, backend=backend, on_progress=on_progress,
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
