"""Commands on a trained model: ``predict``, ``profile``, ``report`` and ``pack``."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import IO, Annotated

import typer

from neurozoo.cli.options import TRAINED, Backend, Json
from neurozoo.cli.output import emit, write
from neurozoo.cli.run import DataRoot, Split
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.reporting.tables import columns

__all__ = ["pack", "predict", "profile", "report"]


class Format(StrEnum):
    """How predictions are written."""

    jsonl = "jsonl"
    csv = "csv"


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=TRAINED)],
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="A store, .npz, or JSON lines; - for JSON lines from the standard input."),
    ],
    split: Annotated[str | None, typer.Option("--split", help="Of a store, the one to take; by default all.")] = None,
    backend: Backend = None,
    format: Annotated[Format, typer.Option("--format", help="A JSON object a line, or a table.")] = Format.jsonl,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to; by default the screen.")] = None,
    as_json: Json = False,
) -> None:
    """Predict samples without targets, each alone and as they come.

    A line of JSON holds {"id": ..., "signals": {NAME: [...]}}, an entry a position: a row of features, a frame.
    """
    from neurozoo.evaluation.prediction import Predictor

    predictor = Predictor(run, backend=backend)
    if predictor.synthetic:
        print(SYNTHETIC_NOTICE, file=sys.stderr)
    samples = predictor.lines(sys.stdin, "standard input") if source == "-" else predictor.samples(Path(source), split)
    predictions = predictor.predict(samples)
    if as_json:
        if out is not None or format is Format.csv:
            raise UserError("--json prints one document; leave it out with --out or --format csv")
        task = predictor.task
        about = {"run": run, "task": task.name, "per_step": task.per_step, "outputs": list(task.outputs)}
        found = [each.to_dict() for each in predictions]
        emit({**about, "synthetic": predictor.synthetic, "predictions": found})
        return
    with _opened(out) as file:
        if format is Format.csv:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(predictor.columns)
            for each in predictions:
                table.writerows(predictor.rows(each))
        else:
            for each in predictions:
                print(json.dumps(each.to_dict(), allow_nan=False), file=file, flush=out is None)


@contextmanager
def _opened(out: Path | None) -> Iterator[IO[str]]:
    """The standard output; a file that takes its place when it is whole; or a pipe or device that is there."""
    if out is None:
        yield sys.stdout
        return
    place = out.resolve()
    direct = place.exists() and not place.is_file()
    partial = place if direct else place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
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
    """Count a trained model's operations by layer, and estimate their energy, as of the same network with ReLUs.

    Dense and effective operations, spikes' accumulations apart, sparsity, membrane updates, parameters and bytes.
    A run keeps what was counted on valid, on its own backend and with its own weights, in operations.json, for
    `report`, `compare` and `pack`.
    """
    from neurozoo.cli.progress import progress_bar
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

    Training curves, what the task draws (curves and calibration of labels, confusion of classes, errors), thresholds,
    firing rates, lesions, operations and energy, spikes of a few samples, what the labels look at, recipes and
    environment; several runs side by side, each in its colour.
    """
    if out is None and len(runs) > 1:
        raise UserError(f"{len(runs)} runs make a page of no single one; say where it goes with --out FILE.html")
    page = out if out is not None else runs[0] / "report.html"

    from neurozoo.cli.progress import progress_bar
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

    The packed folder loads as a run does, on any backend, and is refused where a file of it changed.
    """
    from neurozoo.hub.packing import pack as pack_run
    from neurozoo.runs.packed import MANIFEST, read_packed

    folder = pack_run(run, out, licence=licence, notes="" if notes is None else _text(notes))
    packed = read_packed(folder)
    hashes = {**packed.files, MANIFEST: hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()}
    sizes = {name: (folder / name).stat().st_size for name in hashes}
    if json:
        files = {name: {"sha256": hashes[name], "bytes": sizes[name]} for name in hashes}
        emit({"folder": folder, "name": packed.name, "synthetic": packed.synthetic, "files": files})
        return
    if packed.synthetic:
        print(SYNTHETIC_NOTICE)
    print(columns([[name, f"{sizes[name]:,} bytes", hashes[name]] for name in hashes]))
    print(f"packed: {folder}")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); give a Markdown file") from error
