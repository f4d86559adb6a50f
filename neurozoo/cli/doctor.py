"""``doctor``: whether this installation works, and what to do where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import typer

from neurozoo.cli.options import Json
from neurozoo.cli.output import emit
from neurozoo.reporting.tables import columns

if TYPE_CHECKING:
    from neurozoo.testing.doctor import Finding

__all__ = ["doctor"]

FAILED = 1


def doctor(json: Json = False) -> None:
    """Examine the installation: versions, devices, plugins, data, recipes and backends. Exit status 1 on failure."""
    from neurozoo.testing.doctor import examine

    findings: list[Finding] = []
    for section, group in groupby(examine(), key=lambda each: each.section):
        found = list(group)
        findings += found
        if not json:
            print(f"{section}\n{_table(found)}\n", flush=True)
    failed = [each for each in findings if each.status == "failed"]
    warned = [each for each in findings if each.status == "warning"]
    if json:
        status = "failed" if failed else "warning" if warned else "ok"
        emit({"status": status, "findings": findings, "failures": failed})
    else:
        print(_verdict(failed, warned))
    if failed:
        raise typer.Exit(FAILED)


def _table(findings: Sequence[Finding]) -> str:
    marks = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}
    return columns([[each.name, marks[each.status], each.said] for each in findings], "  ")


def _verdict(failed: Sequence[Finding], warned: Sequence[Finding]) -> str:
    """What is wrong comes last, where it is read."""
    warnings = f"{len(warned)} warning{'s' if len(warned) != 1 else ''}"
    if not failed:
        return f"nothing failed, {warnings}" if warned else "all is well"
    lines = [f"{each.section}, {each.name}: {each.said}" for each in failed]
    return "\n".join([f"{len(failed)} failed, {warnings}", *(f"  {line}" for line in lines)])
