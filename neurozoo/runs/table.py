"""The runs below a folder as a table: ``nz.runs("runs").frame()``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from neurozoo.errors import NeurozooError, RunError, UserError, install_extra
from neurozoo.runs.run import Run

if TYPE_CHECKING:
    import pandas

__all__ = ["RunsTable", "runs_below"]

_SHOWN = ("run", "model", "status", "seed")


class RunsTable(Sequence[Mapping[str, Any]]):
    """Runs, a mapping each, in the order of their folders.

    Its keys: ``run`` (the folder below the table's), ``recipe``, ``model``, ``task``, ``data``, ``synthetic``,
    ``backend``, ``seed``, ``status`` (``finished``, ``unfinished``, or ``damaged`` with the ``problem``), ``epochs``,
    ``best_epoch``, ``parameters``, ``seconds``, and the metrics as ``valid_accuracy``, ``test_accuracy``. What a run
    does not know is missing.

    Args:
        folder: Where the runs are.
        rows: The runs.
    """

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        self.folder, self._rows = folder, tuple(rows)

    def frame(self) -> pandas.DataFrame:
        """Return a data frame with a row a run, whose index is the run.

        Raises:
            UserError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError(
                f"data frames need pandas, which is not installed; install it with: {install_extra('pandas')}. Without "
                "it, neurozoo.runs(...) is a sequence of mappings"
            ) from error
        columns = list(dict.fromkeys(key for row in self._rows for key in row)) or ["run"]
        return pandas.DataFrame(list(map(dict, self._rows)), columns=columns).set_index("run")

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> RunsTable: ...

    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | RunsTable:
        return RunsTable(self.folder, self._rows[place]) if isinstance(place, slice) else self._rows[place]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        lines = [f"{len(self)} runs in {self.folder}"]
        lines += ["  " + ", ".join(str(row[key]) for key in _SHOWN if key in row) for row in self._rows]
        return "\n".join(lines)


def runs_below(folder: str | Path = "runs") -> RunsTable:
    """Return the runs in a folder and in the folders below it, those of studies too; links are not followed.

    A run that cannot be read is in the table, with the problem.

    Args:
        folder: Where they are; by default where ``neurozoo train`` puts them.

    Raises:
        RunError: There is no such folder.

    Example:
        >>> frame = nz.runs("runs").frame()
        >>> frame.sort_values("test_accuracy")[["model", "seed", "test_accuracy"]]
    """
    root = Path(folder)
    if not os.path.isdir(root):
        raise RunError(f"{root}: there is no such folder; give the folder that holds run folders, such as runs")
    return RunsTable(root, [_row(each, root) for each in _folders(root)])


def _folders(root: Path) -> Iterator[Path]:
    for path, below, files in os.walk(root):
        if "recipe.yaml" in files and "run.json" in files:
            below.clear()
            yield Path(path)
        below[:] = sorted(name for name in below if not name.startswith("."))


def _row(folder: Path, root: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run": str(folder.relative_to(root)) if folder != root else folder.name}
    try:
        run = Run(folder)
        recipe = run.recipe()
        row |= {"recipe": recipe.name, "model": recipe.model.name, "task": recipe.task.name}
        row |= {"data": str(recipe.data.name or recipe.data.root), "backend": recipe.backend, "seed": recipe.seed}
        summary = run.read_json_if_there("summary.json")
        row["status"] = "finished" if summary else "unfinished"
        row |= {key: summary[key] for key in ("synthetic", "epochs", "best_epoch", "parameters") if key in summary}
        if summary:
            row["seconds"] = summary["duration_seconds"]
        for split, metrics in summary.get("metrics", {}).items():
            row |= {f"{split}_{name}": value for name, value in metrics.items()}
    except (NeurozooError, KeyError, TypeError, AttributeError) as error:
        row |= {"status": "damaged", "problem": str(error)}
    return row
