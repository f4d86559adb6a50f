"""``export``: a trained model for other runtimes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli import nir
from neurozoo.cli.common import MOST, DataRoot, Json, Run, answer
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from neurozoo.exporting.export import Exported

__all__ = ["export"]

Format = StrEnum("Format", {"torch_export": "torch-export", "onnx": "onnx", "nir": "nir"})
"""What a model can be exported as."""


def export(
    run: Run,
    format: Annotated[Format, typer.Option("--format", help="For torch, for ONNX Runtime and others, or as NIR.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The new folder; by default exported/ and the run's name."),
    ] = None,
    dt: Annotated[
        float | None, typer.Option("--dt", metavar="SECONDS", help="Of NIR: how long a step is, such as 1e-3.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", metavar="N", help="Of ONNX: the version of its operators; by default 20.")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, max=MOST, help="How many it is compared on; by default 256. Not of NIR."),
    ] = None,
    data_root: DataRoot = None,
    json: Json = False,
) -> None:
    """Write a trained model as a program of another runtime, for any number of samples.

    The program is run on samples of valid, or on random ones if the data is not here, and its outputs are compared with
    the model's: equal within 1e-5, or nothing is written and the exit status is 3. `neurozoo nir export` has more
    options for NIR.
    """
    folder = Path("exported") / f"{run.name or run.resolve().name}-{format.value}" if out is None else out
    if format is Format.nir:
        options = {"opset": opset, "samples": samples, "data-root": data_root}
        if given := [name for name, value in options.items() if value is not None]:
            raise UserError(f"--{given[0]} is of torch-export and onnx; leave it out for --format nir")
        nir.export(run, folder, dt=dt, json=json)
        return
    if dt is not None:
        raise UserError(f"--dt is for --format nir; {format.value} has no length of a step, leave it out")

    from neurozoo.exporting.export import SAMPLES, export_model

    made = export_model(
        run,
        folder,
        format="onnx" if format is Format.onnx else "torch-export",  # typer's choice is a text of the same values
        opset=opset,
        samples=SAMPLES if samples is None else samples,
        data_root=data_root,
    )
    answer(json, made, _text(made))


def _text(made: Exported) -> str:
    rows = [["", "name", "shape", "dtype"]]
    for what, tensors in (("input", made.inputs), ("output", made.outputs)):
        rows += [[what, name, f"[{', '.join(map(str, x['shape']))}]", x["dtype"]] for name, x in tensors.items()]
    on = f"{made.samples:,} samples of the data"
    if made.made_up:
        on = f"{made.samples:,} random samples, as the data is not here (--data-root gives it)"
    lines = [SYNTHETIC_NOTICE] if made.synthetic else []
    lines += [
        f"{made.recipe}: {made.operations:,} operations{'' if made.opset is None else f', opset {made.opset}'}",
        columns(rows),
        "",
        f"compared on {on}: outputs differ by at most {made.difference:.2g}",
        f"exported: {made.folder / made.file}",
    ]
    return "\n".join(lines)
