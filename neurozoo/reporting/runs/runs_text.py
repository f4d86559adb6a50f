"""A folder's runs as lines of a table, and what pruning deletes of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from neurozoo.core.leaves import leaf_text
from neurozoo.data.synthetic import SYNTHETIC_NOTICE
from neurozoo.reporting.tables import columns, number, short_count, synthetic_mark
from neurozoo.runs.prune import Pruned
from neurozoo.runs.table import RunRow, RunsTable

__all__ = ["byte_count", "prune_lines", "runs_lines"]

_KEPT = 20
"""So many kept runs are named."""


def byte_count(size: int) -> str:
    """A number of bytes with three digits: ``950 B``, ``12.3 MB``."""
    text = short_count(size)
    return f"{text}B" if text[-1:].isalpha() else f"{text} B"


def runs_lines(table: RunsTable, *, chosen: Sequence[str] = (), sort: str | None = None) -> str:
    """The runs of a table, for people.

    Args:
        table: In the order of the lines.
        chosen: Columns instead of the usual ones.
        sort: A column to show as well.
    """
    if not table:
        return f"no runs in {table.folder} that meet the conditions; `neurozoo train RECIPE` makes one"
    if chosen:
        keys = [table.column(name) for name in chosen if name != "run"]
        head = ["run", *keys]
        rows = [[row.values["run"], *(_cell(table, row, key) for key in keys)] for row in table.rows]
    else:
        head, rows = _usual(table, sort)
    right = [place for place in range(1, len(head)) if all(row[place][:1] in "-+.0123456789" for row in rows)]
    lines = [columns([head, *rows], right=right)]
    if any(row.values.get("synthetic") for row in table.rows):
        lines.insert(0, SYNTHETIC_NOTICE)
    problems = [row.values for row in table.rows if "problem" in row.values]
    if problems:
        lines += ["", *columns([["damaged", each["run"], each["problem"]] for each in problems]).splitlines()]
    return "\n".join(lines)


def _usual(table: RunsTable, sort: str | None) -> tuple[list[str], list[list[str]]]:
    scores = {row.values["score"] for row in table.rows if "score" in row.values}
    one = scores.pop() if len(scores) == 1 else None
    splits = [split for split in ("valid", "test") if _has_scores(table, split)]
    head = ["run", "status", "recipe", "data", "seed", "best epoch"]
    head += [f"{one or 'score'} ({split})" for split in splits]
    extra = [key for key in ([] if sort is None else [table.column(sort)]) if _is_new(key, head, one)]
    head += [*extra, "size"]
    rows = []
    for row in table.rows:
        values = row.values
        epochs = f"{values.get('best_epoch', '-')} of {values['epochs']}" if "epochs" in values else "-"
        if values["status"] != "finished" and "epochs" in values:
            epochs += f", to be {row.settings['training.epochs']}"
        data = f"{values.get('data', '-')}{synthetic_mark(bool(values.get('synthetic')))}"
        cells = [values["run"], values["status"], values.get("recipe", "-"), data, str(values.get("seed", "-")), epochs]
        for split in splits:
            name = values.get("score")
            score = number(values.get(f"{split}_{name}"))
            cells.append(score if one is not None or score == "-" else f"{score} {name}")
        rows.append([*cells, *(_cell(table, row, key) for key in extra), byte_count(values["bytes"])])
    return head, rows


def _has_scores(table: RunsTable, split: str) -> bool:
    return any(f"{split}_{row.values.get('score')}" in row.values for row in table.rows)


def _is_new(key: str, head: Sequence[str], score: str | None) -> bool:
    shown = {"run", "status", "recipe", "data", "seed", "best_epoch", "bytes"}
    return key not in shown | {f"{split}_{score}" for split in ("valid", "test") if f"{score} ({split})" in head}


def _cell(table: RunsTable, row: RunRow, key: str) -> str:
    value: Any = table.value(row, key)
    if value is None:
        return "-"
    if key == "bytes":
        return byte_count(value)
    if key == "changed":
        return str(value)[:16].replace("T", " ")
    if key == "data_checksum":
        return str(value)[:12]
    if isinstance(value, float):
        return number(value) if table.better(key) is not None else f"{value:.6g}"
    return leaf_text(value)


def prune_lines(pruned: Pruned) -> str:
    """What pruning deleted or would delete, for people."""
    lines = []
    if pruned.removals:
        what = [["deleted" if pruned.done else "would delete", "size", "why", ""]]
        what += [
            [_named(each.run, each.files), byte_count(each.bytes), each.reason, "; ".join(each.notes)]
            for each in pruned.removals
        ]
        lines += [columns(what, right=(1,)), ""]
    if pruned.kept:
        kept = [["kept", "why"], *([each.run, each.reason] for each in pruned.kept[:_KEPT])]
        lines += [columns(kept), *([f"and {len(pruned.kept) - _KEPT} more"] if len(pruned.kept) > _KEPT else []), ""]
    whole = sum(not each.files for each in pruned.removals)
    files = sum(len(each.files) for each in pruned.removals)
    counted = [_count(whole, "run")] if whole or not files else []
    counted += [f"{_count(files, 'checkpoint')} of {_count(len(pruned.removals) - whole, 'run')}"] if files else []
    amount = f"{' and '.join(counted)}, {byte_count(pruned.bytes)}"
    where = shlex.quote(pruned.folder)
    if pruned.done:
        lines.append(f"deleted from {where}: {amount}")
    elif pruned.removals:
        lines.append(f"nothing was deleted; the same with --yes deletes {amount} from {where}")
    else:
        lines.append(f"nothing to delete in {where}")
    return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _named(run: str, files: Sequence[str]) -> str:
    return f"{run}: {', '.join(file.rpartition('/')[2] for file in files)}" if files else run
