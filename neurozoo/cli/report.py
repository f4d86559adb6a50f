"""``report``: runs as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit, write
from neurozoo.cli.progress import progress_bar
from neurozoo.cli.run import DataRoot, Split
from neurozoo.errors import UserError

__all__ = ["report"]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, finished or not.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.html", help="The page; by default report.html in the one run.")
    ] = None,
    split: Annotated[
        Split | None, typer.Option("--split", help="Whose predictions are drawn; by default test.")
    ] = None,
    samples: Annotated[
        list[str] | None,
        typer.Option("--samples", metavar="ID", help="A sample of valid to show the spikes of; repeatable."),
    ] = None,
    data_root: DataRoot = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Show runs on different data all the same.")] = False,
    json: Json = False,
) -> None:
    """Write runs as one page with pictures, which loads nothing from anywhere.

    Training curves, curves and calibration of each label, thresholds, firing rates, lesions, operations and energy,
    spikes of a few samples, what the labels look at, recipes and environment; several runs side by side, each in its
    colour.
    """
    if out is None and len(runs) > 1:
        raise UserError(f"{len(runs)} runs make a page of no single one; say where it goes with --out FILE.html")
    page = out if out is not None else runs[0] / "report.html"

    from neurozoo.reporting.runs import report_runs

    with progress_bar() as told:
        made = report_runs(
            runs,
            split=None if split is None else split.value,
            wanted=samples or (),
            mixed=mixed,
            data_root=data_root,
            told=told,
        )
    write(page, made.page)
    if json:
        emit({"page": page, "bytes": len(made.page.encode()), **made.facts})
        return
    print(f"wrote {page}, {len(made.page.encode()) / 1000:.0f} kB, {len(runs)} run{'s' if len(runs) > 1 else ''}")
    for name, reason in made.facts["not_looked_at"].items():
        print(f"  without the spikes of samples and what labels look at, for {name}: {reason}")
    for name, reason in made.facts["not_counted"].items():
        print(f"  without operations and energy, for {name}: {reason}")
