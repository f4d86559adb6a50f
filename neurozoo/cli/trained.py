"""Commands on a trained model: ``predict``, ``profile``, ``report`` and ``pack``."""

from __future__ import annotations

import csv
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, Annotated

import typer

from neurozoo.cli.common import (
    MOST,
    Backend,
    DataRoot,
    Engine,
    Html,
    Json,
    Run,
    Split,
    answer,
    check_writable,
    emit,
    write,
)
from neurozoo.cli.streams import data_input, data_output, say
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.files.text import for_spreadsheet, read_text
from neurozoo.reporting.tables import columns

__all__ = ["pack", "predict", "profile", "report"]

Format = StrEnum("Format", ["jsonl", "csv"])
"""How predictions are written."""


def predict(
    run: Run,
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="A store, .npz, or JSON lines; - for JSON lines from the standard input."),
    ],
    split: Annotated[str | None, typer.Option("--split", help="Of a store; by default all.")] = None,
    backend: Backend = None,
    engine: Engine = None,
    format: Annotated[Format, typer.Option("--format", help="A JSON object a line, or a table.")] = Format.jsonl,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to; by default the screen.")] = None,
    as_json: Json = False,
) -> None:
    """Predict samples without targets, each alone, in the order of the input.

    A line of JSON holds {"id": ..., "signals": {NAME: [...]}}, an entry a position: a row of features, a frame.
    """
    from neurozoo.evaluation.prediction import Predictor

    predictor = Predictor(run, backend=backend, engine=engine)
    if predictor.synthetic:
        say(SYNTHETIC_NOTICE, error=True)
    samples = (
        predictor.lines(data_input(), "standard input") if source == "-" else predictor.samples(Path(source), split)
    )
    predictions = predictor.predict(samples)
    if as_json:
        if out is not None or format is Format.csv:
            raise UserError("--json prints one document; leave it out with --out or --format csv")
        task = predictor.task
        head = {"run": run, "task": task.name, "per_step": task.per_step, "outputs": list(task.outputs)}
        emit({**head, "synthetic": predictor.synthetic, "predictions": [each.to_dict() for each in predictions]})
        return
    with _opened(out) as file:
        if format is Format.csv:
            table = csv.writer(file, lineterminator="\n")
            for row in chain([predictor.columns], chain.from_iterable(map(predictor.rows, predictions))):
                table.writerow([for_spreadsheet(cell) if isinstance(cell, str) else cell for cell in row])
        else:
            for each in predictions:
                print(json.dumps(each.to_dict(), allow_nan=False), file=file, flush=out is None)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """Open the standard output, an existing pipe or device, or a file that is moved to ``out`` once it is whole."""
    if out is None:
        with data_output() as file:
            yield file
        return
    place = out.resolve()
    direct = place.exists() and not place.is_file()
    partial = place if direct else place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("w" if direct else "x", encoding="utf-8", newline="") as file:
            yield file
        if not direct:
            partial.replace(place)
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another --out") from error
    finally:
        if not direct:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def profile(
    run: Run,
    split: Annotated[Split, typer.Option("--split", help="Whose samples.")] = Split.valid,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, max=MOST, help="How many, evenly spread; by default all.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control", metavar="RUN", help="A run trained with ReLUs; by default the same weights with them."
        ),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="A row for each layer instead of each part.")] = False,
    backend: Backend = None,
    data_root: DataRoot = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Count a trained model's operations by layer, and estimate their energy, as of the same network with ReLUs.

    Dense and effective operations, spikes' accumulations apart, sparsity, membrane updates, parameters and bytes.
    A run keeps what was counted on valid, on its own backend and with its own weights, in operations.json, for
    `report`, `compare` and `pack`.
    """
    from neurozoo.cli.bars import progress_bar
    from neurozoo.operations.profiling import keep, profile_run
    from neurozoo.reporting.operations import as_facts, tables
    from neurozoo.reporting.tables import plain_text
    from neurozoo.runs.trained_folder import open_trained

    check_writable(html)
    with progress_bar() as on_progress:
        counted = profile_run(
            run,
            split=split.value,
            backend=backend,
            samples=samples,
            control=control,
            data_root=data_root,
            told=on_progress,
        )
    if html is not None:
        from neurozoo.reporting.operations import as_page

        write(html, as_page(counted))
    source = open_trained(run)
    if source.run is not None and split is Split.valid and backend is None and control is None:
        keep(source, counted)
    answer(json, {"run": run, **as_facts(counted)}, plain_text(tables(counted, layers=layers)))
    if html is not None and not json:
        say(f"\nwritten: {html}", error=True)


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
        typer.Option("--sample", "--samples", metavar="ID", help="A sample of valid to look at; repeatable."),
    ] = None,
    neurons: Annotated[
        list[str] | None,
        typer.Option(
            "--neurons", metavar="LAYER:3,7", help="Neurons to show the membranes of; repeatable. By default a few."
        ),
    ] = None,
    data_root: DataRoot = None,
    mixed: Annotated[bool, typer.Option("--mixed", help="Allow runs on different data.")] = False,
    json: Json = False,
) -> None:
    """Write runs as one self-contained page with pictures.

    Training curves, what the task draws (curves and calibration of labels, confusion of classes, errors), thresholds,
    firing rates, lesions, operations and energy; a few samples as the model sees them, with its answers, membranes,
    thresholds and spikes; label attention, recipes and environment;
    several runs side by side, each in its colour.
    """
    if out is None and len(runs) > 1:
        raise UserError(f"a page of {len(runs)} runs belongs to none of their folders; name it with --out FILE.html")
    page = out if out is not None else runs[0] / "report.html"
    check_writable(out)

    from neurozoo.cli.bars import progress_bar
    from neurozoo.reporting.runs import report_runs

    with progress_bar() as on_progress:
        made = report_runs(
            runs,
            split=split and split.value,
            wanted=samples or (),
            neurons=neurons or (),
            mixed=mixed,
            data_root=data_root,
            told=on_progress,
        )
    write(page, made.page, inside=runs[0] if out is None else None)
    size = len(made.page.encode())
    lines = [f"wrote {page}, {size / 1000:.0f} kB, {len(runs)} run{'s' if len(runs) > 1 else ''}"]
    for key, what in (
        ("not_looked_at", "the spikes of samples and what labels look at"),
        ("not_counted", "operations and energy"),
    ):
        lines += [f"  without {what}, for {name}: {reason}" for name, reason in made.facts[key].items()]
    answer(json, {"page": page, "bytes": size, **made.facts}, "\n".join(lines))


def pack(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="The new folder; by default packed/ and the run's name.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option("--notes", metavar="FILE", help="Markdown of your own for the model card.")
    ] = None,
    json: Json = False,
) -> None:
    """Pack a run for a model hub: weights, recipe, model card, and a manifest with the hash of each.

    The packed folder loads as a run does, on any backend, and is refused if a file of it changed.
    """
    from neurozoo.hub.packing import pack as pack_run
    from neurozoo.runs.packed import MANIFEST, read_packed

    text = "" if notes is None else read_text(notes)
    folder = pack_run(run, out, licence=licence, notes=text)
    packed = read_packed(folder)
    hashes = {**packed.files, MANIFEST: hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}
    files = {name: {"sha256": sha, "bytes": (folder / name).stat().st_size} for name, sha in hashes.items()}
    lines = [SYNTHETIC_NOTICE] if packed.synthetic else []
    lines += [columns([[name, f"{each['bytes']:,} bytes", str(each["sha256"])] for name, each in files.items()])]
    document = {"folder": folder, "name": packed.name, "synthetic": packed.synthetic, "files": files}
    answer(json, document, "\n".join([*lines, f"packed: {folder}"]))
