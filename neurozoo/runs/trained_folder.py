"""The result of a training: a run folder, a packed one, or a model that comes with neurozoo."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurozoo.core.task import Decision
from neurozoo.data.view import DataView
from neurozoo.errors import DataError, NeurozooWarning, RunError
from neurozoo.models.build import open_data
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.from_hub import address_of, fetch
from neurozoo.runs.json_files import checked
from neurozoo.runs.packed import MANIFEST, RECIPE, WEIGHTS, Packed, card_difference, is_packed, read_packed
from neurozoo.runs.run import Run
from neurozoo.runs.shipped_models import shipped_model, shipped_models

__all__ = ["Trained", "data_name", "open_trained", "own_description"]


def data_name(recipe: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return what a run calls its data: the store's own name, whatever its recipe says.

    Args:
        recipe: The section ``data`` of the run's recipe.
        data: The run's ``data.json``, or what its summary has of it. Runs that did not record the store's name have the
            one of the folder that they were given, else the recipe's.
    """
    root = recipe.get("root")
    return str(data.get("name") or (Path(root).resolve().name if root else recipe.get("name")))


def own_description(description: str, recipe: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return a recipe's description, with the name of the data if that is not what the recipe was written for.

    The arguments are those of :func:`data_name`.
    """
    name = data_name(recipe, data)
    other = recipe.get("root") is not None and recipe.get("name") not in (None, name)
    return f"{description}; here on the data {name}" if other and description else description


@dataclass(frozen=True)
class Trained:
    """A trained model's folder and its records.

    Attributes:
        folder: The folder.
        recipe: The model's recipe, on the requested backend.
        checkpoint: The weights and running statistics of the best epoch.
        run: The run; None if the folder is packed.
        packed: The manifest, whose files were compared with their hashes; None if the folder is a run.
    """

    folder: Path
    recipe: Recipe
    checkpoint: Path
    run: Run | None = None
    packed: Packed | None = None

    @property
    def finished(self) -> bool:
        """Whether training finished."""
        return self.run is None or self.run.finished

    @property
    def summary(self) -> Mapping[str, Any]:
        """The content of ``summary.json``; empty if training is not finished.

        Raises:
            RunError: It is damaged, or not what a training writes.
        """
        if self.packed is not None:
            return checked(self.folder / MANIFEST, self.packed.summary, name="summary.json")
        return self.run.read_json_if_there("summary.json") if self.run is not None else {}

    @property
    def data(self) -> Mapping[str, Any]:
        """The content of ``data.json``: signals, task, splits, origin and checksum.

        Raises:
            RunError: The run did not get that far.
        """
        if self.packed is not None:
            return self.packed.data
        return self.run.read_json("data.json") if self.run is not None else {}

    @property
    def closed(self) -> tuple[str, ...]:
        """The splits that must not be opened for it; none for a packed model."""
        return self.run.closed if self.run is not None else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the labels, classes or quantities that it was trained on."""
        data = self.data
        return tuple(data["task"]["outputs"] if "task" in data else data.get("labels", ()))

    @property
    def decision(self) -> Decision:
        """How predictions become answers; None if that is not decided yet, or the task has no decision.

        Raises:
            RunError: It is for another number of outputs.
        """
        summary = self.summary
        decided: Decision = summary.get("decision", summary.get("decision_threshold"))
        if isinstance(decided, list) and len(decided) != len(self.outputs):
            raise RunError(
                f"{self.folder}: its decision has {len(decided)} values, and there are {len(self.outputs)} outputs; "
                "copy the run folder again from its source"
            )
        return decided

    def open_data(self, data_root: str | Path | None = None, *, registry: Registry | None = None) -> DataView:
        """Open the data that it was trained on, or another store, with the splits closed that are closed for it.

        A relative ``data.root`` is relative to the folder in which the training began, which runs record; for those
        that do not, to the current folder.

        Args:
            data_root: A store, if the data moved.
            registry: Where data sets are looked up; by default what is installed.

        Raises:
            DataError: The data is not where it was, or as :func:`neurozoo.models.build.open_data`.
        """
        recipe = self.recipe
        if data_root is None and recipe.data.root is not None:
            recorded = None if self.run is None else self.run.data_root
            given = Path(recipe.data.root).expanduser()
            data_root = next((each for each in (recorded, given) if each is not None and each.is_dir()), None)
            if data_root is None:
                raise DataError(
                    f"its data is not in {recorded or given.absolute()} any more; give the store's folder with "
                    "--data-root"
                )
        if data_root is not None:
            recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(data_root)})})
        return open_data(recipe, closed=self.closed, registry=registry)


def open_trained(source: str | Path, *, backend: str | None = None) -> Trained:
    """Open a trained model's folder; a packed one's files are first compared with their hashes.

    Args:
        source: A run folder, a packed one, the name of a model that comes with neurozoo, or the address of one on the
            Hugging Face hub, ``hf://USER/NAME`` or ``hf://USER/NAME@REVISION``.
        backend: Another backend than the one it was trained with. A packed model whose own is not installed here runs
            on ``torch``, which computes the same.

    A packed model whose card was edited or removed is opened with a :class:`NeurozooWarning`.

    Raises:
        RunError: It is none of these.
        CheckpointError: A packed folder differs from what was packed in more than its card.
        FetchError: The hub cannot be reached.
        RecipeError: Its recipe is not valid here.
    """
    address = address_of(source)
    folder = Path(source) if address is None else fetch(address).folder
    if not os.path.exists(folder):  # unlike Path.exists, False for names that the system refuses
        folder = shipped_model(str(source)) or folder
    if not os.path.isdir(folder):
        raise RunError(
            f"{folder}: there is no such run folder; `neurozoo train RECIPE --out {folder}` makes one; "
            f"models that come with neurozoo: {', '.join(shipped_models()) or 'none'}"
        )
    if is_packed(folder):
        packed = read_packed(folder, any_card=True)
        if changed := card_difference(folder, packed):
            warnings.warn(
                NeurozooWarning(
                    f"{source}: {changed} after the model was packed; weights and recipe are as they were, what the "
                    "card says may not be"
                ),
                stacklevel=3,
            )
        recipe = load_recipe(folder / RECIPE, backend=backend).named(packed.name)
        if backend is None and recipe.backend not in default_registry().components("neuron"):
            recipe = recipe.model_copy(update={"backend": "torch"})
        return Trained(folder, recipe, folder / WEIGHTS, packed=packed)
    run = Run(folder)
    return Trained(folder, run.recipe(backend=backend), run.best, run=run)
