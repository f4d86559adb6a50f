"""Run folders: all files of one training."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from neurozoo.errors import RunError
from neurozoo.files.locks import lock_folder, unlock_folder
from neurozoo.files.partial_folder import PartialFolder
from neurozoo.files.writing import write_whole
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.file_schemas import checked
from neurozoo.runs.threads import thread_waiting

__all__ = ["SCHEMA", "Run", "environment", "write_json"]

SCHEMA = 1


class Run:
    """A run folder: ``run.json``, ``recipe.yaml``, ``environment.json``, ``data.json``, ``metrics.jsonl``,
    ``checkpoints/``, ``predictions/`` and ``summary.json``; ``evaluations.jsonl`` if it was evaluated again, and
    ``operations.json`` if it was profiled.

    Args:
        folder: An existing run folder; :meth:`create` makes a new one.

    Raises:
        RunError: It is not a run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise RunError(f"{folder}: there is no such run folder; `neurozoo train RECIPE --out {folder}` makes one")
        if not self.recipe_path.is_file():
            raise RunError(f"{folder}: not a run folder, it holds no recipe.yaml; name the folder that train wrote")

    @staticmethod
    def check_free(folder: Path) -> None:
        """Check that a new run can use the folder.

        Raises:
            RunError: It exists and is not empty.
        """
        try:
            taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        except OSError as error:
            raise RunError(f"{folder}: cannot be read: {error.strerror or error}; give another --out") from error
        if taken:
            raise RunError(f"{folder}: already there and not empty; give another --out, or remove it first")

    @staticmethod
    def check_no_run(folder: Path) -> None:
        """Check that a folder for many runs is not a run itself.

        Raises:
            RunError: It is a run.
        """
        if (folder / "recipe.yaml").is_file():
            raise RunError(f"{folder}: is a single run, to which no runs can be added; give another --out")

    def discard(self) -> None:
        """Remove the folder with its content."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, *, closed: Collection[str] = ()) -> Run:
        """Start a new run in ``folder``.

        Args:
            folder: Missing or empty.
            recipe: The run's recipe.
            closed: Splits that neither this training nor one that resumes it may open.

        Raises:
            RunError: The folder exists and is not empty, or cannot be written.
        """
        cls.check_free(folder)
        try:
            new = PartialFolder(folder)
            try:
                (new.path / "checkpoints").mkdir()
                write_json(new.path / "run.json", {"schema": SCHEMA, "recipe": recipe.name, "closed": sorted(closed)})
                write_whole(new.path / "recipe.yaml", recipe.to_yaml().encode())
                new.finish()
            finally:
                new.close()
        except OSError as error:
            raise RunError(f"{folder}: cannot be written: {error.strerror or error}; give another --out") from error
        return cls(folder)

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.folder / "recipe.yaml"

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch on the valid split."""
        return self.folder / "checkpoints" / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last complete epoch."""
        return self.folder / "checkpoints" / "last.safetensors"

    @property
    def state(self) -> Path:
        """The state from which training resumes."""
        return self.folder / "checkpoints" / "state.safetensors"

    @property
    def finished(self) -> bool:
        """Whether it has a summary."""
        return (self.folder / "summary.json").is_file()

    @property
    def closed(self) -> tuple[str, ...]:
        """The splits that must not be opened for this run."""
        return tuple(self.read_json("run.json").get("closed", ())) if (self.folder / "run.json").is_file() else ()

    def recipe(self, *, backend: str | None = None) -> Recipe:
        """Load the run's recipe, with another backend if one is given."""
        recipe = load_recipe(self.recipe_path, backend=backend)
        has_name = (self.folder / "run.json").is_file()
        return recipe.named(self.read_json("run.json")["recipe"]) if has_name else recipe

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl; :meth:`records` skips a line that a crash cut off."""
        self._append("metrics.jsonl", record)

    def note_evaluation(self, record: Mapping[str, Any]) -> None:
        """Append a line to evaluations.jsonl with the time (UTC), as the number of evaluations of a split is part of
        a result.

        Raises:
            RunError: It cannot be written.
        """
        self._append("evaluations.jsonl", {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", **record})

    def check_writable(self) -> None:
        """Check that evaluations can be recorded in the run.

        Raises:
            RunError: Its files cannot be written.
        """
        try:
            (self.folder / "evaluations.jsonl").open("a").close()
        except OSError as error:
            raise RunError(
                f"{self.folder}: evaluations.jsonl cannot be written ({error.strerror or error}); copy the run to a "
                "writable folder, as each evaluation is recorded in it"
            ) from error

    def _append(self, name: str, record: Mapping[str, Any]) -> None:
        line = json.dumps(_finite(record)) + "\n"
        try:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            raise RunError(f"{self.folder / name}: cannot be written: {error.strerror or error}") from error

    def records(self) -> list[dict[str, Any]]:
        """Return the logged epochs, without a last line that a crash cut off.

        Raises:
            RunError: A line does not have the form that a training writes.
        """
        path = self.folder / "metrics.jsonl"
        records: list[dict[str, Any]] = []
        for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            records.append(checked(path, record))
        return records

    def keep_records(self, count: int) -> None:
        """Truncate metrics.jsonl to its first ``count`` lines, dropping those after the last saved state.

        Raises:
            RunError: It has fewer lines, or cannot be written.
        """
        path = self.folder / "metrics.jsonl"
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
            if len(lines) < count:
                raise RunError(
                    f"{path}: has {len(lines)} lines of the {count} that were written; the run cannot be resumed"
                )
            if len(lines) > count:
                write_whole(path, b"".join(lines[:count]))
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the run against training by another process.

        Raises:
            RunError: Another process is training in it.
        """
        try:
            lock = lock_folder(self.folder, wait=False)
        except OSError as error:
            raise RunError(f"{self.folder}: another process is training in it; wait for its end") from error
        try:
            yield
        finally:
            unlock_folder(lock)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, whole or not at all."""
        write_json(self.folder / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files.

        Raises:
            RunError: It is missing, damaged or malformed.
        """
        path = self.folder / name
        try:
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path}: not there; the run did not get that far") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{path}: cannot be read: {error}") from error
        return checked(path, value)


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, threads and device, without names of machines or people."""
    registry = default_registry()
    libraries = [name for component in registry.components("neuron").values() for name in component.requires]
    versions = {}
    for name in ("neurozoo", "torch", "numpy", *libraries):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "plugins": {plugin.name: plugin.distribution for plugin in registry.plugins},
        "threads": torch.get_num_threads(),
        "thread_waiting": thread_waiting().to_dict(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity become null.

    Raises:
        RunError: It cannot be written.
    """
    try:
        write_whole(path, (json.dumps(_finite(value), indent=2, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
