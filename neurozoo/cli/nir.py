"""``nir``: trained models as graphs that other simulators and chips read, and graphs as runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from neurozoo.cli.common import DIFFERENT, Backend, Json, Run, answer
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.errors import UserError
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.reporting.summaries import summary_lines
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from neurozoo.nir.export import Export, ReadBack

__all__ = ["app"]

app = typer.Typer(help="Exchange models with other simulators and chips by NIR.", rich_markup_mode=None)

Reset = StrEnum("Reset", ["value", "subtract"])
Integration = StrEnum("Integration", {"euler": "euler", "exact": "exact", "exponential_leak": "exponential-leak"})
Fires = StrEnum("Fires", ["at", "above"])
Readout = StrEnum("Readout", ["rate", "sum", "mean", "max", "last"])

_RESETS = {"value": "reset to v_reset", "subtract": "reset by subtracting the threshold"}


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .nir file.")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run folder; new or empty.")],
    dt: Annotated[float | None, typer.Option("--dt", metavar="SECONDS", help="Length of a step.")] = None,
    reset: Annotated[
        Reset | None, typer.Option("--reset", help="After a spike: to v_reset, or by subtracting v_threshold.")
    ] = None,
    integration: Annotated[
        Integration | None, typer.Option("--integration", help="How an equation becomes a step.")
    ] = None,
    fires: Annotated[Fires | None, typer.Option("--fires", help="At the threshold, or only above it.")] = None,
    forward_delay: Annotated[
        int | None, typer.Option("--forward-delay", min=0, max=1, help="Steps until a spike reaches the next node.")
    ] = None,
    recurrent_delay: Annotated[
        int | None, typer.Option("--recurrent-delay", min=1, help="Steps that a spike takes within a loop.")
    ] = None,
    synapse_delay: Annotated[
        int | None,
        typer.Option("--synapse-delay", min=0, max=1, help="Steps until a membrane sees its synapse's current."),
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--as", metavar="PLATFORM", help="Take options that are not given from a platform.")
    ] = None,
    readout: Annotated[
        Readout | None, typer.Option("--readout", help="A label's logit; by default rate of spikes, else last.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="A store, or the name of one; by default SYNTHETIC spikes."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of made-up data, and of training later on.")] = 1,
    backend: Backend = None,
    json: Json = False,
) -> None:
    """Make a run of a NIR graph, which every backend can evaluate and train.

    NIR leaves to its reader how long a step is, what a reset does and what comes a step later. All that matters to the
    graph must be said here, and is recorded in the run's recipe.
    """
    from neurozoo.cli.progress import JsonListener, RichListener
    from neurozoo.nir.import_graph import import_nir

    settings = {
        "dt": dt,
        "reset": reset and reset.value,
        "integration": integration and integration.value,
        "fires": fires and fires.value,
        "forward_delay": forward_delay,
        "recurrent_delay": recurrent_delay,
        "synapse_delay": synapse_delay,
    }
    made = import_nir(
        file, out, settings=settings, platform=platform, readout=cast("Any", readout and readout.value),
        data=data, backend=backend or "torch", seed=seed, listener=JsonListener() if json else RichListener(),
    )  # fmt: skip
    nodes = ", ".join(f"{count} {kind}" for kind, count in made.nodes.items())
    chosen = ", ".join(f"{name} {getattr(made.dynamics, name)}" for name in made.given)
    text = (
        f"{made.file} (sha256 {made.sha256[:12]}): {nodes}\nas: {chosen}; readout {made.readout}\n\n"
        f"{summary_lines(made.summary)}\n\n`neurozoo compare --run {out} --backends torch,norse` compares backends; "
        f"`neurozoo train {out / 'recipe.yaml'} --from {out}` continues the training"
    )
    answer(json, made, text)


@app.command("export")
def export(
    run: Run,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder; a file, or one each branch.")],
    dt: Annotated[
        float | None,
        typer.Option(
            "--dt", metavar="SECONDS", help="How long a step is; required, but for a graph that was imported."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", metavar="V", help="Of a branch's neurons; by default the policy's own, that at kappa = 0."
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
    """Write a trained model as a NIR graph, its normalisation folded; of SMILE each spiking branch at one threshold.

    What is left out is listed. Installed libraries then read the files back with their own readers, and their spikes
    are compared with the model's. The exit status is 3 if some differ by more than rounding.
    """
    if no_check and check is not None:
        raise UserError("--check and --no-check exclude each other; give one of them")
    registry = default_registry()
    names = [] if no_check else _readers(check, registry)

    from neurozoo.nir.export import export_run, read_back

    exported = export_run(run, out, dt=dt, threshold=threshold, fold=fold, registry=registry)
    read = read_back(exported, names, registry=registry) if names and exported.kind != "graph" else None
    compared = None
    if read is not None:
        compared = {"samples": read.samples, "made_up": read.made_up, "same": read.same, "rows": read.rows}
    document = {"folder": out, "source": run, **exported.to_dict(), "read_back": compared}
    answer(json, document, _text(exported, read))
    if read is not None and not read.same:
        raise typer.Exit(DIFFERENT)


def _readers(given: str | None, registry: Registry) -> list[str]:
    """The backends whose libraries read the graphs: those named with --check, by default all that can."""
    from neurozoo.nir.export.read_back import reader_of, readers

    if given is None:
        return readers(registry)
    names = list(dict.fromkeys(filter(None, (name.strip() for name in given.split(",")))))
    if not names:
        raise UserError(
            f"--check names nothing; there are: {', '.join(readers(registry)) or 'none'}; or give --no-check"
        )
    for name in names:
        reader_of(name, registry)
    return names


def _text(exported: Export, read: ReadBack | None) -> str:
    folded = ", folded into the weights: neurons fire at 1" if exported.folded else ""
    level = "of each neuron"
    if exported.threshold is not None:
        level = f"{exported.threshold:g} ({exported.threshold_from})"
    lines = [SYNTHETIC_NOTICE] if exported.synthetic else []
    lines += [
        f"{exported.recipe}: dt {exported.dt:g} s, threshold {level}{folded}; {_RESETS[exported.reset]}",
        "",
        columns([[branch.file, ", ".join(branch.nodes)] for branch in exported.branches]),
        "",
        "left out, as NIR cannot say it or it is no part of the graph:",
        *(f"  {each}" for each in exported.left_out),
        "",
    ]
    if exported.kind == "graph":
        lines.append("not read back: it is the graph that was imported, with the weights that it has now")
    elif read is None:
        lines.append("not read back by any library; a backend whose library has a reader of NIR could, such as norse")
    else:
        lines += _table(read)
    return "\n".join([*lines, "", f"exported: {exported.folder}"])


def _table(read: ReadBack) -> list[str]:
    rows = [["read back by", "branch", "spikes compared", "fired", "mismatches", "by rounding"]]
    notes: dict[str, list[str]] = {}
    for row in read.rows:
        version = next(iter(row.versions.values()), "")
        counts = ["-"] * 4
        if row.mismatches is not None:
            counts = [f"{count:,}" for count in (row.spikes, row.fired, row.mismatches, row.rounding)]
        rows.append([f"{row.library} {version}".rstrip(), row.branch, *counts])
        for note in row.notes:
            notes.setdefault(f"{row.library}: {note}", []).append(row.branch)
    return [f"on {read.samples}", columns(rows), *(f"{note} ({', '.join(of)})" for note, of in notes.items())]
