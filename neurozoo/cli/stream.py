"""``stream``: a trained model that answers at each step of a signal as it comes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli.common import MOST, Backend, Engine, Run
from neurozoo.cli.streams import data_input, data_output, say
from neurozoo.data.synthetic import SYNTHETIC_NOTICE

if TYPE_CHECKING:
    from neurozoo.runs.streaming import Stream

__all__ = ["stream"]


def stream(
    run: Run,
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="FILE", help="A WAV or FLAC; an npz of events or steps; - for lines of JSON as they come."
        ),
    ],
    engine: Engine = None,
    backend: Backend = None,
    window: Annotated[
        int | None, typer.Option("--window", min=1, max=MOST, help="Steps that answer; by default all so far.")
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, max=MOST, help="Print each n-th step, and the last.")] = 1,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1, max=10_000_000, help="Resample sound to so many samples a second."),
    ] = None,
) -> None:
    """Answer at each step of a signal as it comes, with the state carried from step to step.

    A line of JSON holds {"steps": [[...], ...]}, or {"events": [[SECONDS, ADDRESS], ...]}, which are counted in steps.
    Where inputs reach a model's output some steps later, a last line with "end" is its answer for the whole signal. At
    the end the time that steps took is written to the error output.
    """
    from neurozoo.evaluation.stream_input import of_file, of_lines
    from neurozoo.runs.loading import load
    from neurozoo.runs.streaming import Stream

    trained = load(run, backend=backend, engine=engine)
    if trained.source.data.get("synthetic"):
        say(SYNTHETIC_NOTICE, error=True)
    running = Stream(trained, window=window)
    if source == "-":
        chunks = of_lines(running, data_input(), "standard input")
    else:
        chunks = of_file(running, trained, Path(source), rate)
    number, waiting = 0, ""
    with data_output() as file:
        for chunk in chunks:
            for answer in running.answers(chunk):
                waiting = json.dumps({"step": number, **answer}, allow_nan=False)
                number += 1
                if number % every == 0:
                    print(waiting, file=file, flush=True)
                    waiting = ""
        if waiting:
            print(waiting, file=file, flush=True)
        if running.behind and running.steps:
            last = {"step": number - 1, "end": True, **running.answer()}
            print(json.dumps(last, allow_nan=False), file=file, flush=True)
    say(_summary(running), error=True)


def _summary(running: Stream) -> str:
    times = ", ".join(f"{share:g} % {milliseconds:.3g} ms" for share, milliseconds in running.latency().items())
    late = f"; late events, which were dropped: {running.late}" if running.late else ""
    return f"{running.steps} steps{f', each within: {times}' if running.steps else ''}{late}"
