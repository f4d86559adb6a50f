"""``predict``: what a trained model says of samples without labels."""

from __future__ import annotations

import csv
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
from neurozoo.cli.output import emit
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError

__all__ = ["predict"]


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
    """Predict the labels of samples, each by itself and as they come.

    A line of JSON holds {"id": ..., "features": {MODALITY: [[...], ...]}}, a row of numbers a position.
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
        told = [each.to_dict() for each in predictions]
        emit({"run": run, "labels": list(predictor.labels), "synthetic": predictor.synthetic, "predictions": told})
        return
    with _opened(out) as file:
        if format is Format.csv:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["split", "id", *predictor.labels, "labels"])
            for each in predictions:
                table.writerow([each.split, each.id, *each.probabilities.values(), ";".join(each.labels)])
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
