"""``profile``: what a trained model computes, by layer, and an estimate of its energy beside a control."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.options import TRAINED, Backend, Json
from neurozoo.cli.output import emit, write
from neurozoo.cli.progress import progress_bar
from neurozoo.cli.run import DataRoot, Split

__all__ = ["profile"]


def profile(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=TRAINED)],
    split: Annotated[Split, typer.Option("--split", help="Whose samples.")] = Split.valid,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="How many, evenly spread; by default all.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control", metavar="RUN", help="A run trained with ReLUs; by default the same weights with them."
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="A row for each layer, not one a part.")] = False,
    backend: Backend = None,
    data_root: DataRoot = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with pictures.")] = None,
    json: Json = False,
) -> None:
    """Count a trained model's operations by layer, and estimate their energy beside the same network with ReLUs.

    Dense and effective operations, spikes' accumulations apart, sparsity, membrane updates, parameters and bytes.
    A run keeps what was counted on valid, on its own backend and beside its own weights, in operations.json, for
    `report`, `compare` and `pack`.
    """
    from neurozoo.operations.profiling import keep, profile_run
    from neurozoo.reporting.operations import as_facts, tables
    from neurozoo.reporting.tables import plain_text
    from neurozoo.runs.trained_folder import open_trained

    with progress_bar() as told:
        found = profile_run(
            run,
            split=split.value,
            backend=backend,
            samples=samples,
            control=control,
            data_root=data_root,
            told=told,
        )
    if html is not None:
        from neurozoo.reporting.operations import as_page

        write(html, as_page(found))
    source = open_trained(run)
    if source.run is not None and split is Split.valid and backend is None and control is None:
        keep(source, found)
    if json:
        emit({"run": run, **as_facts(found)})
        return
    print(plain_text(tables(found, layers=layers)))
    if html is not None:
        print(f"\nwritten: {html}", file=sys.stderr)
