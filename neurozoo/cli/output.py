"""How commands speak: one JSON document for programs, plain aligned lines for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neurozoo.errors import UserError
from neurozoo.files.writing import write_whole

if TYPE_CHECKING:
    from neurozoo.studies.intervals import Spread
    from neurozoo.studies.seeds import SeedsResult

__all__ = ["columns", "emit", "plain", "seeds_lines", "summary_lines", "write"]

_METRICS = (
    "accuracy",
    "accuracy_empty_one",
    "micro_f1",
    "macro_f1",
    "precision",
    "recall",
    "hamming_loss",
    "map",
    "loss",
)
SYNTHETIC = "SYNTHETIC data: nothing here compares with the paper"


def emit(value: object, *, indent: int | None = 2) -> None:
    """Print one JSON document."""
    print(json.dumps(plain(value), indent=indent, allow_nan=False), flush=True)


def write(out: Path, page: str) -> None:
    """Write a page whole, or not at all.

    Raises:
        UserError: It cannot be written.
    """
    try:
        write_whole(out, page.encode())
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}; give another file") from error


def plain(value: Any) -> Any:
    """A value that JSON can hold; NaN and infinity become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def columns(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows as lines, each column as wide as its widest cell."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(indent + line.rstrip() for line in lines)


def summary_lines(summary: Mapping[str, Any]) -> str:
    """What a run or an evaluation measured, for people."""
    blocks: list[str] = []
    metrics: Mapping[str, Mapping[str, float]] = summary.get("metrics", {})
    if metrics:
        splits = list(metrics)
        known = [name for name in _METRICS if any(name in metrics[split] for split in splits)]
        rows = [["metric", *splits]]
        rows += [[name, *(_number(metrics[split].get(name)) for split in splits)] for name in known]
        blocks.append(columns(rows))
    health: Mapping[str, Mapping[str, Mapping[str, float]]] = summary.get("health", {})
    for split, layers in health.items():
        if layers:
            rows = [[f"spiking layer ({split})", "rate", "dead", "saturated"]]
            rows += [
                [name, *(f"{each[k]:.1%}" for k in ("rate", "dead", "saturated"))] for name, each in layers.items()
            ]
            blocks.append(columns(rows))
    lesion: Mapping[str, Mapping[str, float]] = summary.get("lesion", {})
    if lesion:
        splits = list(next(iter(lesion.values())))
        rows = [["lesion effect", *splits]]
        rows += [[kind, *(_number(effect.get(split)) for split in splits)] for kind, effect in lesion.items()]
        blocks.append(columns(rows))
    if summary.get("synthetic"):
        # Above and below every table, so that no part of it can be quoted without.
        blocks = [text for block in blocks for text in (SYNTHETIC, block)]
    run = summary.get("run")
    if run is not None:
        blocks.append(f"run folder: {Path(str(run))}")
    return "\n\n".join(blocks).replace(f"{SYNTHETIC}\n\n", f"{SYNTHETIC}\n")


def seeds_lines(found: SeedsResult) -> str:
    """How the numbers of several seeds spread, for people."""
    splits = list(found.metrics)
    known = [name for name in _METRICS if any(name in found.metrics[split] for split in splits)]
    few = f"{len(found.seeds)} seeds, {found.seeds[0]} to {found.seeds[-1]}" if len(found.seeds) > 1 else "one seed"
    tables = [
        [[f"mean ± deviation (95 % interval) of {few}", *splits]]
        + [[name, *(_spread(found.metrics[split].get(name)) for split in splits)] for name in known],
        [["lesion effect", *splits]]
        + [[kind, *(_spread(by_split.get(split)) for split in splits)] for kind, by_split in found.lesion.items()],
    ]
    above = f"{SYNTHETIC}\n" if found.synthetic else ""
    return "\n\n".join(above + columns(table) for table in tables)


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    ends = f"({_number(spread.low)} to {_number(spread.high)})"
    return f"{_number(spread.mean)} ± {_number(spread.deviation)} {ends}"


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"
