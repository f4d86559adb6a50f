"""Run folders: all files of one training, as readers find them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from neurozoo.errors import DISTRIBUTION, RunError
from neurozoo.files.json_text import parse_json
from neurozoo.files.opening import open_regular, read_bytes
from neurozoo.files.partial_folder import is_free
from neurozoo.files.writing import check_appendable
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.json_files import append_json, checked, read_json, write_json
from neurozoo.runs.threads import thread_waiting

__all__ = ["SCHEMA", "Run", "check_free", "environment"]

SCHEMA = 1


class Run:
    """A run folder: ``run.json``, ``recipe.yaml``, ``environment.json``, ``data.json``, ``metrics.jsonl``,
    ``checkpoints/``, ``predictions/`` and ``summary.json``; ``evaluations.jsonl`` if it was evaluated again, and
    ``operations.json`` if it was profiled. :class:`neurozoo.training.run_folder.RunFolder` makes one.

    It may be a stranger's: only regular files are read and written, none reached through a link below the folder.

    Args:
        folder: An existing run folder.

    Raises:
        RunError: It is not a run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe_path = folder / "recipe.yaml"
        self.records_path = folder / "metrics.jsonl"
        checkpoints = folder / "checkpoints"
        self.best = checkpoints / "best.safetensors"
        """The checkpoint of the best epoch on the valid split."""
        self.last = checkpoints / "last.safetensors"
        """The checkpoint of the last complete epoch."""
        self.state = checkpoints / "state.safetensors"
        """The state from which training resumes."""
        if not os.path.isdir(folder):  # unlike Path.is_dir, False for names that the system refuses
            raise RunError(f"{folder}: there is no such run folder; `neurozoo train RECIPE --out {folder}` makes one")
        if not os.path.isfile(self.recipe_path):
            runs = sorted(each.parent.name for each in folder.glob("*/recipe.yaml"))
            known = "it holds no recipe.yaml; name the folder that train wrote"
            if runs:
                known = f"it holds the runs {', '.join(runs)}; name one of them, such as {folder / runs[0]}"
            raise RunError(f"{folder}: not a run folder, {known}")

    @property
    def finished(self) -> bool:
        """Whether it has a summary."""
        return (self.folder / "summary.json").is_file()

    @property
    def closed(self) -> tuple[str, ...]:
        """The splits that must not be opened for this run."""
        return tuple(self.read_json_if_there("run.json").get("closed", ()))

    @property
    def data_root(self) -> Path | None:
        """The store that the run was trained on, as an absolute path; None if it has a name, or is not recorded."""
        root = self.read_json_if_there("run.json").get("data_root")
        return None if root is None else Path(root)

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name, of whatever kind."""
        return os.path.lexists(self.folder / name)

    def recipe(self, *, backend: str | None = None) -> Recipe:
        """Load the run's recipe, with another backend if one is given."""
        open_regular(self.recipe_path, inside=self.folder, error=RunError).close()
        recipe, about = load_recipe(self.recipe_path, backend=backend), self.read_json_if_there("run.json")
        return recipe.named(about["recipe"]) if about else recipe

    def records(self) -> list[dict[str, Any]]:
        """Return the logged epochs, without a last line that a crash cut off.

        Raises:
            RunError: A line does not have the form that a training writes.
        """
        path = self.records_path
        if not self.has(path.name):
            return []
        # The last is empty, or what a crash left of a line.
        lines = read_bytes(path, inside=self.folder, error=RunError).split(b"\n")[:-1]
        return [
            checked(path, parse_json(line, f"{path}:{number}", error=RunError))
            for number, line in enumerate(lines, start=1)
        ]

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files, see :func:`neurozoo.runs.json_files.read_json`."""
        return read_json(self.folder / name, inside=self.folder)

    def read_json_if_there(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files; empty if the run did not get that far."""
        return self.read_json(name) if self.has(name) else {}

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one of the run's JSON files, see :func:`neurozoo.runs.json_files.write_json`."""
        write_json(self.folder / name, value, inside=self.folder)

    def note_evaluation(self, record: Mapping[str, Any]) -> None:
        """Append a line to evaluations.jsonl with the time (UTC), as the number of evaluations of a split is part of
        a result.

        Raises:
            RunError: It cannot be written.
        """
        time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        append_json(self.folder / "evaluations.jsonl", {"time": time, **record}, inside=self.folder)

    def check_writable(self) -> None:
        """Check that evaluations can be recorded in the run.

        Raises:
            RunError: Its files cannot be written.
        """
        try:
            check_appendable(self.folder / "evaluations.jsonl", inside=self.folder)
        except OSError as error:
            raise RunError(
                f"{self.folder}: evaluations.jsonl cannot be written ({error.strerror or error}); copy the run to a "
                "writable folder, as each evaluation is recorded in it"
            ) from error


def check_free(folder: Path) -> None:
    """Check that a new run, packed model or export can use the folder.

    Raises:
        RunError: It exists and is not empty.
    """
    try:
        taken = not is_free(folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}; give another --out") from error
    if taken:
        raise RunError(f"{folder}: already there and not empty; give another --out, or remove it first")


def environment(device: torch.device) -> dict[str, Any]:
    """Return versions, threads and device, without names of machines or people."""
    registry = default_registry()
    libraries = [name for component in registry.components("neuron").values() for name in component.requires]
    versions = {}
    for name in ("neurozoo", "torch", "numpy", *libraries):
        try:
            versions[name] = importlib.metadata.version(DISTRIBUTION if name == "neurozoo" else name)
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
