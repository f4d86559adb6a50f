"""``arena``: many models on one store under one protocol, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurozoo.cli import completion
from neurozoo.cli.common import MOST, Json, Overrides, answer, check_writable, write
from neurozoo.cli.launching import Jobs, LauncherName, LauncherOptions, Retries, launcher_of
from neurozoo.data.synthetic import SYNTHETIC_NOTICE

if TYPE_CHECKING:
    from neurozoo.studies.arena.result import ArenaResult

__all__ = ["arena"]


def arena(
    source: Annotated[
        str,
        typer.Argument(
            metavar="ARENA", help="An arena's file, or the name of a shipped one.", autocompletion=completion.arenas
        ),
    ],
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For the runs and pages; finished runs are used again.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, max=MOST, help="Seeds of each row, instead of the file's.")
    ] = None,
    jobs: Jobs = None,
    launcher: LauncherName = None,
    launcher_options: LauncherOptions = None,
    retries: Retries = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="This row; repeatable. Floors are always there.")
    ] = None,
    leak: Annotated[
        bool, typer.Option("--leak", help="Measure at the end what choosing epoch and threshold on test would report.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Also write the Markdown page here.")
    ] = None,
    work: Annotated[str | None, typer.Option("--work", hidden=True)] = None,
    json: Json = False,
) -> None:
    """Compare models on one store under one protocol: same samples and folds, choice on valid, test opened once.

    Writes arena.json, arena.md, arena.csv and, if matplotlib is installed, arena.html with pictures into the folder.
    The same command again continues where it was interrupted. `neurozoo arena cmu-mosei` is the paper's comparison.
    """
    from neurozoo.cli.bars import counted
    from neurozoo.reporting.tables import plain_text
    from neurozoo.studies.arena.arena import run_arena
    from neurozoo.studies.arena.description import read_arena

    check_writable(page)
    if work is not None:
        _work(source, overrides or (), out, seeds, work)
        return
    read_arena(source, overrides or (), only or ())  # its problems before anything about launchers
    where = launcher_of(launcher, launcher_options, retries)
    with counted("training", as_json=json) as on_progress:
        result = run_arena(
            source, *(overrides or ()),
            seeds=seeds, out=out, jobs=jobs, only=only or (), leak=leak, on_progress=on_progress, launcher=where,
        )  # fmt: skip
    from neurozoo.reporting.arena_findings import findings
    from neurozoo.reporting.arena_page import arena_tables

    written = _pages(result, page)
    notice = [SYNTHETIC_NOTICE] if result.synthetic else []
    sentences = [each.replace("**", "") for each in findings(result)]
    shown = plain_text(arena_tables(result)[:1])
    names = "\n".join(f"written: {path}" for path in written)
    answer(json, result, "\n".join([*notice, *sentences, "", shown, "", names]))


def _pages(result: ArenaResult, page: Path | None) -> list[Path]:
    """Write the pages of a result; returns their files."""
    from neurozoo.cli.streams import say
    from neurozoo.errors import UserError
    from neurozoo.reporting.arena_page import arena_csv, arena_html, arena_markdown

    folder, text = Path(result.folder), arena_markdown(result)
    written = [folder / "arena.json", folder / "arena.md", folder / "arena.csv"]
    write(written[1], text)
    write(written[2], arena_csv(result))
    try:
        write(folder / "arena.html", arena_html(result))
        written.append(folder / "arena.html")
    except UserError as error:  # matplotlib is missing, and the numbers are worth having without pictures
        say(f"note: arena.html was not written: {error}", error=True)
    if page is not None:
        write(page, text)
        written.append(page)
    return written


def _work(source: str, overrides: list[str] | tuple[()], out: Path | None, seeds: int | None, work: str) -> None:
    """Measure one row of an arena whose trainings are finished, for the command that started this one."""
    from neurozoo.errors import UserError
    from neurozoo.studies.arena.arena import measure_rows
    from neurozoo.studies.arena.description import read_arena

    what, _, name = work.partition(":")
    if out is None or seeds is None or what not in ("measure", "leak"):
        raise UserError("--work is what `neurozoo arena` starts its own processes with; leave it out")
    for _ in measure_rows(read_arena(source, overrides, [name]), out, [name], range(1, seeds + 1), what):
        pass
