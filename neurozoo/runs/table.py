"""The runs below a folder as a table: ``nz.runs("runs").frame()``, ``neurozoo runs list``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from neurozoo.core.leaves import leaf_text, leaves
from neurozoo.core.task import Task
from neurozoo.errors import NeurozooError, RunError, UnknownNameError, UserError, install_extra
from neurozoo.files.locks import is_locked
from neurozoo.models.build import make_problem
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.run import Run
from neurozoo.runs.trained_folder import data_name

if TYPE_CHECKING:
    import pandas

__all__ = ["STUDY_FILES", "RunRow", "RunsTable", "bytes_of", "read_row", "runs_below"]

STUDY_FILES = ("seeds.json", "ablation.json", "study.json", "best.json", ".study")
"""By one of these a study's folder is known: of several seeds, an ablation, a search or a plan, finished or not."""
_STUDY_DEPTH = 2
"""So many folders above a run is its study at most, as in ``STUDY/VARIANT/SEED``."""
_SHOWN = ("run", "model", "status", "seed")

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class RunRow:
    """A run of a table.

    Attributes:
        folder: Where it is.
        values: See :class:`RunsTable`.
        settings: The values of its recipe by dotted path; empty if it cannot be read.
        better: Of each of its metrics, without the split, whether higher or lower values are better.
        study: The folder of the study that it belongs to; None if there is none.
    """

    folder: Path
    values: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    better: Mapping[str, Better] = field(default_factory=dict)
    study: Path | None = None


class RunsTable(Sequence[Mapping[str, Any]]):
    """Runs, a mapping each, in the order of their folders.

    Its keys: ``run`` (the folder below the table's), ``status``, ``recipe``, ``model``, ``task``, ``data`` (the store's
    own name), ``data_checksum``, ``synthetic``, ``backend``, ``seed``, ``epochs`` (those that are trained),
    ``best_epoch``, ``parameters``, ``seconds``, ``changed`` (when a file of it last changed, UTC), ``bytes`` (of its
    files), ``study`` (the folder of its study), ``score`` (the name of the task's main metric), and the metrics as
    ``valid_accuracy``, ``test_accuracy``. What a run does not know is missing. The metrics of a run that is not
    finished are those of its best epoch by now.

    A run's status is ``finished``; ``running`` if a process trains in it; ``interrupted`` if
    ``neurozoo train --resume`` continues it; ``unfinished`` if it is one of both, on a file system without locks; or
    ``damaged`` with the ``problem``.

    Args:
        folder: Where the runs are.
        rows: The runs.
    """

    def __init__(self, folder: Path, rows: Iterable[RunRow]) -> None:
        self.folder, self.rows = folder, tuple(rows)

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
        columns = list(dict.fromkeys(key for row in self for key in row)) or ["run"]
        return pandas.DataFrame(list(map(dict, self)), columns=columns).set_index("run")

    def column(self, name: str) -> str:
        """Return the key that a name stands for: a key, a metric (of valid if no split is named), or a recipe's path.

        Raises:
            UnknownNameError: No run has it.
        """
        known = dict.fromkeys(key for row in self for key in row)
        paths = {path for row in self.rows for path in row.settings}
        plain = name.replace("/", "_")
        for key in (name, plain, f"valid_{plain}", f"test_{plain}"):
            if key in known or key in paths:
                return key
        if not self.rows:
            return name
        hint = "or a value of the recipes by its path, such as training.optimizer.lr"
        raise UnknownNameError("column", name, known, hint)

    def value(self, row: RunRow, key: str) -> Any:
        """Return what a run has under a key of :meth:`column`; None if it has nothing."""
        return row.values[key] if key in row.values else row.settings.get(key)

    def better(self, key: str) -> Better | None:
        """Return whether higher or lower values of a key are better; None if it is no metric."""
        name = key.removeprefix("valid_").removeprefix("test_")
        return None if name == key else next((row.better[name] for row in self.rows if name in row.better), None)

    def sorted_by(self, name: str, *, reverse: bool = False) -> RunsTable:
        """Return the table in the order of a column, runs without a value last.

        Metrics are in order from best to worst, everything else is ascending; ``reverse`` turns the order round.

        Args:
            name: See :meth:`column`.
            reverse: Whether to turn the order round.

        Raises:
            UnknownNameError: No run has it.
        """
        key = self.column(name)
        there = [row for row in self.rows if self.value(row, key) is not None]
        descending = (self.better(key) == "higher") != reverse
        ordered = sorted(there, key=lambda row: _order(self.value(row, key)), reverse=descending)
        return RunsTable(self.folder, [*ordered, *(row for row in self.rows if self.value(row, key) is None)])

    def where(self, *conditions: str) -> RunsTable:
        """Return the runs that meet every condition: ``key=value`` or ``key!=value``.

        Keys are those of :meth:`column`. Numbers are compared as numbers, texts as a whole, with ``*`` for any text.

        Raises:
            UserError: A condition has no ``=``, or no run has its key.
        """
        rows = list(self.rows)
        for condition in conditions:
            name, equals, wanted = condition.partition("=")
            if not equals or name in ("", "!"):
                raise UserError(f"{condition!r} is not KEY=VALUE; give a column or a recipe's path, such as seed=3")
            key = self.column(name.removesuffix("!"))
            rows = [row for row in rows if _equal(self.value(row, key), wanted) != name.endswith("!")]
        return RunsTable(self.folder, rows)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> RunsTable: ...

    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | RunsTable:
        return RunsTable(self.folder, self.rows[place]) if isinstance(place, slice) else self.rows[place].values

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        lines = [f"{len(self)} runs in {self.folder}"]
        lines += ["  " + ", ".join(str(row[key]) for key in _SHOWN if key in row) for row in self]
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
        >>> nz.runs("runs").where("status=finished", "data=mosei*").sorted_by("map")[0]
    """
    root = Path(folder)
    if not os.path.isdir(root):
        raise RunError(f"{root}: there is no such folder; give the folder that holds run folders, such as runs")
    return RunsTable(root, [read_row(each, root) for each in _folders(root)])


def _folders(root: Path) -> Iterator[Path]:
    for path, below, files in os.walk(root):
        if "recipe.yaml" in files and "run.json" in files:
            below.clear()
            yield Path(path)
        below[:] = sorted(name for name in below if not name.startswith("."))


def read_row(folder: Path, root: Path) -> RunRow:
    """Return a run of the table of ``root``, which holds it; one that cannot be read has the status ``damaged``."""
    values: dict[str, Any] = {"run": str(folder.relative_to(root)) if folder != root else folder.name}
    values["status"] = "damaged"
    size, changed = _size_and_change(folder)
    study = _study_of(folder)
    settings: Mapping[str, Any] = {}
    better: dict[str, Better] = {}
    try:
        run = Run(folder)
        recipe = run.recipe()
        content = recipe.content
        settings = dict(leaves({key: content[key] for key in content if key not in ("ablations", "tune")}))
        values |= {"recipe": recipe.name, "model": recipe.model.name, "task": recipe.task.name}
        values |= {"backend": recipe.backend, "seed": recipe.seed, "data": data_name(content["data"], {})}
        data = run.read_json_if_there("data.json")
        if data:
            values |= {"data": data_name(content["data"], data), "data_checksum": data["checksum"]}
            values["synthetic"] = data["synthetic"]
        summary = run.read_json_if_there("summary.json")
        if summary and not run.best.is_file():
            raise RunError(f"{run.best}: is missing; copy the run folder again from its source")
        task = _task(recipe, data)
        if summary:
            metrics = summary.get("metrics", {})
            values |= {key: summary[key] for key in ("epochs", "best_epoch", "parameters") if key in summary}
            values["seconds"] = summary["duration_seconds"]
        else:
            metrics = _so_far(run, recipe, task, values)
        if task is not None:
            values["score"] = task.selection
        for split, by_name in metrics.items():
            values |= {f"{split}_{name}": value for name, value in by_name.items()}
            better |= {name: task.better(name) for name in by_name if task is not None and name in task.names}
        values["status"] = "finished" if summary else _unfinished(folder)
    except (NeurozooError, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        values |= {"status": "damaged", "problem": str(error)}
    values |= {"changed": changed, "bytes": size}
    if study is not None:
        values["study"] = str(study)
    return RunRow(folder, values, settings, better, study)


def _task(recipe: Recipe, data: Mapping[str, Any]) -> Task | None:
    """Return what the outputs of a run mean; None if it did not get that far, or its task is not installed."""
    outputs = data["task"]["outputs"] if "task" in data else data.get("labels")
    try:
        return make_problem(recipe, {}, outputs).task if outputs else None
    except NeurozooError:
        return None


def _so_far(run: Run, recipe: Recipe, task: Task | None, values: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of an unfinished run's best epoch, and note how many epochs there are."""
    records = run.records()
    values["epochs"] = len(records)
    if not records:
        return {}
    values["seconds"] = sum(record.get("seconds") or 0.0 for record in records)
    name = recipe.training.best
    scored = [each for each in records if each.get("valid", {}).get(name) is not None]
    if task is None or not scored or name not in task.names:
        return {}
    best = max(scored, key=lambda record: task.score(record["valid"], name))
    values["best_epoch"] = best["epoch"]
    return {"valid": best["valid"]}


def _unfinished(folder: Path) -> str:
    locked = is_locked(folder)
    if locked is None:
        return "unfinished"
    if locked:
        return "running"
    # Without the lock's answer the summary may have been written since it was looked for.
    return "finished" if (folder / "summary.json").is_file() else "interrupted"


def _study_of(folder: Path) -> Path | None:
    """Return the folder of the study that a run belongs to."""
    above = folder.absolute().parents[:_STUDY_DEPTH]
    place = next((n for n, each in enumerate(above) if any((each / name).is_file() for name in STUDY_FILES)), None)
    return None if place is None else Path(os.path.normpath(folder / Path(*[".."] * (place + 1))))


def bytes_of(folder: Path) -> int:
    """Return the bytes of all regular files in a folder and below it; links are not followed."""
    return _size_and_change(folder)[0]


def _size_and_change(folder: Path) -> tuple[int, str]:
    size, changed = 0, 0.0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                status = os.lstat(os.path.join(path, name))
            except OSError:  # removed in the meantime
                continue
            if stat.S_ISREG(status.st_mode):
                size, changed = size + status.st_size, max(changed, status.st_mtime)
    return size, datetime.fromtimestamp(changed, UTC).isoformat(timespec="microseconds")


def _order(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _equal(value: Any, wanted: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return value == float(wanted)
        except ValueError:
            return False
    return fnmatchcase(leaf_text(value), wanted)
