"""``nir import``: a NIR graph becomes a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from neurozoo.cli.options import Backend, Json
from neurozoo.cli.output import emit, summary_lines

__all__ = ["import_"]


class Reset(StrEnum):
    """What a spike does to the membrane."""

    value = "value"
    subtract = "subtract"


class Integration(StrEnum):
    """How an equation becomes a step."""

    euler = "euler"
    exact = "exact"
    exponential_leak = "exponential-leak"


class Fires(StrEnum):
    """Whether a membrane at its threshold fires."""

    at = "at"
    above = "above"


class Readout(StrEnum):
    """What of the outputs is a logit."""

    rate = "rate"
    sum = "sum"
    mean = "mean"
    max = "max"
    last = "last"


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .nir file.")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="The run folder; new or empty.")],
    dt: Annotated[float | None, typer.Option("--dt", metavar="SECONDS", help="Length of a step.")] = None,
    reset: Annotated[
        Reset | None, typer.Option("--reset", help="After a spike: to v_reset, or v_threshold is taken away.")
    ] = None,
    integration: Annotated[
        Integration | None, typer.Option("--integration", help="How an equation becomes a step.")
    ] = None,
    fires: Annotated[Fires | None, typer.Option("--fires", help="At the threshold, or above it alone.")] = None,
    forward_delay: Annotated[
        int | None, typer.Option("--forward-delay", min=0, max=1, help="Steps until a neuron hears of other nodes.")
    ] = None,
    recurrent_delay: Annotated[
        int | None, typer.Option("--recurrent-delay", min=1, help="Steps that a spike takes into a loop of its own.")
    ] = None,
    synapse_delay: Annotated[
        int | None,
        typer.Option("--synapse-delay", min=0, max=1, help="Steps until a membrane sees its synapse's current."),
    ] = None,
    platform: Annotated[
        str | None, typer.Option("--as", metavar="PLATFORM", help="Take what is not given as a platform has it.")
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
    from neurozoo.cli.progress import JsonReporter, RichReporter
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
    with JsonReporter() if json else RichReporter() as reporter:
        found = import_nir(
            file, out, settings=settings, platform=platform, readout=readout.value if readout else None,
            data=data, backend=backend or "torch", seed=seed, reporter=reporter,
        )  # fmt: skip
    if json:
        emit(found)
        return
    nodes = ", ".join(f"{count} {kind}" for kind, count in found.nodes.items())
    said = ", ".join(f"{name} {getattr(found.dynamics, name)}" for name in found.given)
    print(f"{found.file} (sha256 {found.sha256[:12]}): {nodes}\nas: {said}; readout {found.readout}\n")
    print(summary_lines(found.summary))
    print(f"\n`neurozoo compare --run {out} --backends torch,norse` compares backends; ", end="")
    print(f"`neurozoo train {out / 'recipe.yaml'} --from {out}` goes on training")
