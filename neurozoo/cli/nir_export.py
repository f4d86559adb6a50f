"""``nir export``: a trained model's spiking branches as .nir files, read back by other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurozoo.cli.options import TRAINED, Json
from neurozoo.cli.output import SYNTHETIC, columns, emit
from neurozoo.errors import UnknownNameError, UserError
from neurozoo.registry.registry import Registry, default_registry

if TYPE_CHECKING:
    from neurozoo.nir.export import Export, ReadBack

__all__ = ["export"]

DIFFERENT = 3

_RESETS = {"value": "reset to v_reset", "subtract": "reset by subtracting the threshold"}


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help=TRAINED)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder; a file each branch.")],
    dt: Annotated[
        float | None,
        typer.Option(
            "--dt", metavar="SECONDS", help="How long a step is; required, but for a graph that was imported."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", metavar="V", help="Of all neurons; by default the policy's own, which is that at kappa = 0."
        ),
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold", help="Divide weights and biases by the threshold, so that neurons fire at 1.")
    ] = False,
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="A,B", help="The libraries that read it back; by default all installed."),
    ] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help="Have none read it back.")] = False,
    json: Json = False,
) -> None:
    """Write each spiking branch of a trained model as a NIR graph, at one fixed threshold.

    It says what was left out. Installed libraries then read the files back with their own readers, and their spikes are
    compared with the model's. The exit status is 3 where some differ by more than rounding.
    """
    if no_check and check is not None:
        raise UserError("--check and --no-check exclude each other; give one of them")
    registry = default_registry()
    names = [] if no_check else _readers(check, registry)

    from neurozoo.nir.export import export_run, read_back

    exported = export_run(run, out, dt=dt, threshold=threshold, fold=fold, registry=registry)
    of_branches = exported.threshold is not None  # else a graph that was imported
    read = read_back(exported, names, registry=registry) if names and of_branches else None
    if json:
        emit({"folder": out, "source": run, **exported.to_dict(), "read_back": _told(read)})
    else:
        print(_text(exported, read))
    if read is not None and not read.same:
        raise typer.Exit(DIFFERENT)


def _readers(given: str | None, registry: Registry) -> list[str]:
    known = registry.components("nir-reader")
    if given is None:
        return registry.usable("nir-reader")
    names = list(dict.fromkeys(filter(None, (name.strip() for name in given.split(",")))))
    for name in names:
        if name not in known:
            raise UnknownNameError("NIR reader", name, known)
    if not names:
        raise UserError(f"--check names nothing; there are: {', '.join(known) or 'none'}; or give --no-check")
    return names


def _told(read: ReadBack | None) -> dict[str, Any] | None:
    return (
        None
        if read is None
        else {"samples": read.samples, "made_up": read.made_up, "same": read.same, "rows": read.rows}
    )


def _text(exported: Export, read: ReadBack | None) -> str:
    folded = ", folded into the weights: neurons fire at 1" if exported.folded else ""
    level = "of each neuron"
    if exported.threshold is not None:
        level = f"{exported.threshold:g} ({exported.threshold_from})"
    lines = [SYNTHETIC] if exported.synthetic else []
    lines += [
        f"{exported.recipe}: dt {exported.dt:g} s, threshold {level}{folded}; {_RESETS[exported.reset]}",
        "",
        columns([[branch.file, ", ".join(branch.nodes)] for branch in exported.branches]),
        "",
        "left out, as NIR cannot say it or it is no part of a branch:",
        *(f"  {each}" for each in exported.left_out),
        "",
    ]
    if exported.threshold is None:
        lines.append("not read back: it is the graph that was imported, with the weights that it has now")
    elif read is None:
        lines.append("not read back by any library; `neurozoo list nir-readers` has those that could")
    else:
        lines += _table(read)
    return "\n".join([*lines, "", f"exported: {exported.folder}"])


def _table(read: ReadBack) -> list[str]:
    rows = [["read back by", "branch", "spikes compared", "fired", "mismatches", "by rounding"]]
    for row in read.rows:
        version = next(iter(row.versions.values()), "")
        counts = ["-"] * 4
        if row.mismatches is not None:
            counts = [f"{count:,}" for count in (row.spikes, row.fired, row.mismatches, row.rounding)]
        rows.append([f"{row.library} {version}".rstrip(), row.branch, *counts])
    notes: dict[str, list[str]] = {}
    for row in read.rows:
        for note in row.notes:
            notes.setdefault(f"{row.library}: {note}", []).append(row.branch)
    return [f"on {read.samples}", columns(rows), *(f"{note} ({', '.join(of)})" for note, of in notes.items())]
