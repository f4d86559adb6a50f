"""``tune``: a search for what is best on the valid split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.options import Backend, Json, Overrides
from neurozoo.cli.output import SYNTHETIC, columns, emit

if TYPE_CHECKING:
    from neurozoo.studies.tuning import TuningResult

__all__ = ["tune"]

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

    The same command once more goes on where it was interrupted, and others with the same --storage and --study take
    part. Trials that fail are noted, and the search goes on.
    """
    from neurozoo.cli.progress import counted
    from neurozoo.studies.tuning import tune as run
    from neurozoo.studies.tuning.search import BEST, folder_of

    with counted("trial", as_json=json) as told:
        found = run(
            recipe,
            overrides or (),
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
    above = f"{SYNTHETIC}\n" if found.synthetic else ""
    rows = [["trial", f"{found.metric} (valid)", "overrides"]]
    rows += [[str(each.number), f"{each.value:.4f}", " ".join(each.overrides)] for each in found.ranked[:SHOWN]]
    blocks = [above + columns(rows)]
    if found.importance:
        shares = [[path, f"{share:.0%}"] for path, share in found.importance.items()]
        blocks.append(above + columns([["what matters", "share"], *shares]))
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    blocks.append(f"{len(found.trials)} trials: {counts}; chosen on valid, test was not opened")
    if found.best is not None:
        blocks.append(f"the best, to be trained and measured:\n{found.command}")
    return "\n\n".join(blocks)
