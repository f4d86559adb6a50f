"""A recipe for a store of one's own, made of another recipe or of a model's name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import Any

import torch

from neurozoo.core.earlier_names import current_name
from neurozoo.core.shapes import SignalShape
from neurozoo.data.manifest import Column
from neurozoo.data.store import Store
from neurozoo.errors import DataError, NeurozooError, UnknownNameError
from neurozoo.files.text import printable
from neurozoo.models.build import Experiment, build_model, open_experiment
from neurozoo.recipe.recipe import SCHEMA, Recipe, load_recipe, make_recipe
from neurozoo.recipe.schema import AugmentRef
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.recipe.yaml_text import as_yaml, find_file
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.training.augmentation import Augmenter, EventAugmenter

__all__ = ["OwnRecipe", "recipe_for_store"]

_STEPS = 100
"""Steps into which the time of events is divided where the copied recipe does not say how."""
_BATCHES = 4
"""Batches that an epoch should have at least."""
_SMALLEST, _LARGEST = 8, 128
"""Batch sizes of a recipe that gives none."""
_TRIED = 8
"""Training samples that each augmentation is tried on."""


@dataclass(frozen=True)
class OwnRecipe:
    """A recipe for a store.

    Attributes:
        text: Its YAML.
        left_out: What the copied recipe has and this one has not, as it does not fit the store, with the reason.
    """

    text: str
    left_out: Mapping[str, str]


def recipe_for_store(source: str, store: str, *, registry: Registry | None = None) -> OwnRecipe:
    """Make a recipe that trains on a store what another recipe trains on its own data.

    Data, inputs, their representation, roles, task and outputs are the store's; the model's parameters and parts and
    the training are those of ``source``, as far as they do not depend on its data. The recipe is checked, and its model
    built once for the data. Augmentations that change a batch of the data stay, and so do ablations whose model can be
    built for it, and a search of parameters that the recipe has.

    Args:
        source: A recipe's file, the name of a shipped recipe, or of a model.
        store: The store's folder, as the recipe is to name it.
        registry: Where names are looked up; by default what is installed.

    Raises:
        UnknownNameError: There is no such recipe or model.
        DataError: The folder is no store, or the model does not take its signals; names models that do.
        RecipeError: The recipe's file is wrong.
    """
    registry = registry or default_registry()
    opened = Store(Path(store).expanduser())
    content = _content(source, registry)
    task, old_task = opened.description.task, content.get("task") or {}
    same = (old_task.get("name"), bool(old_task.get("per_step"))) == (task.name, task.per_step)
    params = old_task.get("params", {}) if same else {}
    # Values by output, such as weights, are of the outputs that they were given for.
    params = {name: value for name, value in params.items() if not isinstance(value, list | tuple)}
    data = _data(content.get("data", {}), store, opened)
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "description": f"{current_name('recipe', source, quiet=True)}, for the data {opened.description.name}",
        **{key: content[key] for key in ("seed", "backend") if key in content},
        "data": data,
        "task": {
            "name": task.name,
            **({"per_step": True} if task.per_step else {}),
            "outputs": list(task.outputs),
            **({"params": params} if params else {}),
        },
        "model": _model(content["model"], data["inputs"]),
        "training": _training(content.get("training", {}), opened, same),
        **{key: content[key] for key in ("evaluation",) if key in content},
    }
    experiment = open_experiment(make_recipe(made, source, registry), registry=registry)
    if all(shape.dtype.startswith("float") for shape in experiment.problem.signals.values()):
        # Counts of events stay counts unless the copied recipe scales them.
        if "standardise" not in content.get("data", {}) and "represent" not in data:
            data["standardise"] = True
    else:
        data.pop("standardise", None)
    experiment = open_experiment(make_recipe(made, source, registry), registry=registry)
    try:
        build_model(experiment.recipe, experiment.problem, registry=registry)
    except NeurozooError as error:
        raise DataError(f"{error}; {_taking(made, experiment, registry)}") from error
    left_out: dict[str, str] = {}
    if augment := list(_fitting_augmentations(content, experiment, left_out)):
        made["training"]["augment"] = augment
    recipe = make_recipe(made, source, registry)
    if ablations := dict(_fitting_ablations(content, recipe, registry, left_out)):
        made["ablations"] = ablations
    if (tune := content.get("tune")) is not None:
        try:
            experiment.problem.task.better(tune.get("metric", "loss"))
            make_recipe({**made, "tune": tune}, source, registry)
            made["tune"] = tune
        except NeurozooError as error:
            left_out["tune"] = _in_one_line(error)
    return OwnRecipe(as_yaml(made), left_out)


def _fitting_augmentations(
    content: Mapping[str, Any], experiment: Experiment, left_out: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """Yield the augmentations that change a batch of the data; the others are added to those left out."""
    for each in content.get("training", {}).get("augment", ()):
        ref = dict(each)
        if len(experiment.problem.signals) == 1:
            ref.pop("signals", None)  # one signal is changed as the old recipe's only one, whatever they are called
        try:
            _augment(experiment, [AugmentRef.model_validate(ref)])
        except NeurozooError as error:
            left_out[f"augmentation {each['name']}"] = _in_one_line(error)
        else:
            yield ref


def _augment(experiment: Experiment, chosen: Sequence[AugmentRef]) -> None:
    """Augment a batch of the data, as in the first epoch of a training.

    Raises:
        NeurozooError: An augmentation cannot change it.
    """
    view, problem = experiment.view, experiment.problem
    change = EventAugmenter(chosen, view.events).change(1)
    augmenter = Augmenter(chosen, problem.signals, problem.task.per_step, view.events)
    with torch.random.fork_rng(devices=[]):
        augmenter(next(iter(view.batches("train", _TRIED, change=change))), 1)


def _fitting_ablations(
    content: Mapping[str, Any], recipe: Recipe, registry: Registry, left_out: dict[str, str]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the ablations whose model can be built for the data; the others are added to those left out."""
    for name, overrides in content.get("ablations", {}).items():
        try:
            experiment = open_experiment(recipe.with_overrides(overrides, registry=registry), registry=registry)
            build_model(experiment.recipe, experiment.problem, registry=registry)
            _augment(experiment, experiment.recipe.training.augment)
        except NeurozooError as error:
            left_out[f"ablation {name}"] = _in_one_line(error)
        else:
            yield name, list(overrides)


def _in_one_line(error: Exception) -> str:
    """Return the reason that an error gives, without the advice to do what is done here."""
    return printable("; ".join(str(error).splitlines())).removesuffix("; take it out")


def _content(source: str, registry: Registry) -> dict[str, Any]:
    """Return the keys that a recipe gives; of a model's name, the model alone."""
    models = registry.components("model")
    if os.path.isfile(find_file(source)[0]):
        return load_recipe(source, registry=None).model_dump(mode="json", by_alias=True, exclude_unset=True)
    if source not in models:
        raise UnknownNameError("recipe or model", source, {*shipped_recipes(), *models})
    return {"model": {"name": source}}


def _data(old: Mapping[str, Any], root: str, store: Store) -> dict[str, Any]:
    """Return the section ``data`` for a store; what is said of signals of the same name stays."""
    signals = store.description.signals
    known = [name for name in old.get("inputs") or () if name in signals]
    inputs = known if known and len(known) == len(old["inputs"]) else list(signals)
    represent = {name: how for name, how in _representations(old, signals, store.columns, inputs) if how is not None}
    return {
        "root": root,
        "inputs": inputs,
        **({"represent": represent} if represent else {}),
        **({"standardise": True} if old.get("standardise") else {}),
        **({} if "valid" in store.description.splits else {"valid": {"fraction": 0.15}}),
    }


def _representations(
    old: Mapping[str, Any], signals: Mapping[str, SignalShape], columns: Mapping[str, Column], inputs: Sequence[str]
) -> list[tuple[str, Any]]:
    """Return how a model sees each input: as the old recipe says, or events in steps; None for as it is stored."""
    given = dict(old.get("represent") or {})
    # One signal is seen as the old recipe's only one, whatever they are called.
    if len(given) == 1 and len(inputs) == 1:
        given = {inputs[0]: next(iter(given.values()))}
    found: list[tuple[str, Any]] = []
    for name in inputs:
        shape, span = signals[name], columns[name].span
        if shape.sensor is None and (shape.shape or shape.tick is None):
            found.append((name, None))
        elif name in given or shape.sensor is None or shape.tick is None:
            found.append((name, given.get(name)))
        else:
            found.append((name, {"name": "bins", "params": {"step": _rounded((span or 1) * shape.tick / _STEPS)}}))
    return found


def _rounded(value: float) -> float:
    """Return a number with one digit."""
    return round(value, -floor(log10(value)))


def _model(old: Mapping[str, Any], inputs: Sequence[str]) -> dict[str, Any]:
    """Return the section ``model``; roles of signals that are not there are left out."""
    params = dict(old.get("params", {}))
    if params.get("context") not in (None, *inputs) or len(inputs) == 1:
        params.pop("context", None)
    if not {*(params.get("spiking") or ())} <= {*inputs}:
        params.pop("spiking")
    rest = {key: value for key, value in old.items() if key not in ("name", "params")}
    return {"name": old["name"], **({"params": params} if params else {}), **rest}


def _training(old: Mapping[str, Any], store: Store, same_task: bool) -> dict[str, Any]:
    """Return the section ``training`` without augmentations, and with batches that fit the number of samples."""
    new = {key: value for key, value in old.items() if key != "augment"}
    most = max(_SMALLEST, 2 ** floor(log10(max(1, store.description.splits.get("train", 1)) / _BATCHES) / log10(2)))
    new["batch_size"] = min(new.get("batch_size", _LARGEST), most)
    if not same_task:
        new.pop("best", None)
        if isinstance(scheduler := new.get("scheduler"), Mapping):
            new["scheduler"] = {key: value for key, value in scheduler.items() if key != "metric"}
    return new


def _taking(made: Mapping[str, Any], experiment: Experiment, registry: Registry) -> str:
    """Return which models can be built for the data, for an error."""
    fitting = []
    for name in registry.components("model"):
        try:
            recipe = make_recipe({**made, "model": {"name": name}}, name, registry)
            with torch.device("meta"):
                build_model(recipe, experiment.problem, registry=registry)
        except Exception:  # of any model, for any reason: it is not one to name
            continue
        fitting.append(name)
    return f"models that take this data: {', '.join(fitting) or 'none'}"
