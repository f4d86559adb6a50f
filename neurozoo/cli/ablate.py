"""``ablate`` and ``results``: a recipe against its variants, and the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.options import Json, Overrides
from neurozoo.cli.output import SYNTHETIC, columns, emit
from neurozoo.errors import RunError

__all__ = ["ablate", "results"]


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
    from neurozoo.studies.ablation import COLUMNS, SCORES
    from neurozoo.studies.ablation import ablate as run

    folder = out or Path("runs") / f"ablate-{Path(recipe).stem}"
    with counted("training", as_json=json) as told:
        found = run(recipe, overrides or (), seeds=seeds, out=folder, jobs=jobs, only=only or (), told=told)
    if json:
        emit(found)
        return
    if found.synthetic:
        print(SYNTHETIC)
    rows = [["mean over seeds (test)", *COLUMNS]]
    rows += [[name, *(f"{means[c].mean:.3f}" for c in COLUMNS)] for name, means in found.means.items()]
    rows += [[each.name, *(f"{each.metrics[c]:.3f}" for c in SCORES), ""] for each in found.baselines]
    print(columns(rows))
    rows = [["minus full (95 % interval)", *COLUMNS]]
    for each in found.baselines:
        rows.append(
            [each.name, *(f"{d.mean:+.3f} ({d.low:+.3f} to {d.high:+.3f})" for d in each.differences.values()), ""]
        )
    for name, by_column in found.differences.items():
        rows.append([name, *(f"{by_column[c].mean:+.3f}±{by_column[c].half_width:.3f}" for c in COLUMNS)])
    print(f"\n{columns(rows)}\n\nwritten: {folder / 'ablation.json'}")


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
