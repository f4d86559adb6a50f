"""Recipe and data to model: the one place where names become objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn

from neurozoo.core.interfaces import Inputs, Layout, LIFSpec, Neuron, ZooModel
from neurozoo.data.locations import installed, locate
from neurozoo.data.manifest import Modality
from neurozoo.data.store import Store
from neurozoo.data.view import DataView
from neurozoo.errors import DataError
from neurozoo.recipe.recipe import Recipe
from neurozoo.registry.registry import Registry, default_registry, slot_kind

__all__ = ["assemble", "describe", "inputs_of", "open_data", "parameters_by_component", "shapes_of"]


def assemble(
    recipe: Recipe, inputs: Inputs, *, backend: str | None = None, registry: Registry | None = None
) -> ZooModel:
    """Build the recipe's model for data of the given sizes.

    Args:
        recipe: What to build, its names already checked.
        inputs: Sizes and roles, see :func:`inputs_of`.
        backend: Another backend than the recipe's.
        registry: Where names are looked up; by default what is installed.
    """
    registry = registry or default_registry()
    neuron: Callable[[LIFSpec], Neuron] = registry.resolve("backend", backend or recipe.backend)
    model_class: type[Any] = registry.resolve("model", recipe.model.name)

    def parts(slot: str, layout: Layout) -> Any:
        part = recipe.model.parts.get(slot)
        if part is None:  # an optional one: the recipe's check has seen to the others
            return None
        kind, base = slot_kind(model_class.slots[slot])
        return registry.resolve(kind, part.name, base)(layout, **part.params)

    model: ZooModel = model_class(inputs, parts, neuron, recipe.data.standardise, **recipe.model.params)
    return model


def open_data(recipe: Recipe, *, registry: Registry | None = None, closed: Collection[str] = ()) -> DataView:
    """Open the recipe's data: its store, or what it names instead where that is not installed.

    Args:
        recipe: What to open.
        registry: Where a data set that is registered is looked up; by default what is installed.
        closed: Splits that cannot be read through the view.

    Raises:
        DataError: There is no such data set, and nothing to use instead; or it lacks what the
            recipe expects.
    """
    registry = registry or default_registry()
    data = recipe.data
    if data.root is None and data.name is not None and data.name in registry.components("dataset"):
        store: Store = registry.resolve("dataset", data.name)().store()
    elif data.root is None and data.instead is not None and data.name not in installed():
        store = registry.resolve("dataset", data.instead.name)(**data.instead.params).store()
    else:
        store = Store(locate(data.name, data.root))
    valid = (data.valid.fraction, data.valid.seed) if data.valid is not None else None
    view = DataView(store, spiking=data.spiking, context=data.context, join=data.join, valid=valid, closed=closed)
    _check_expected(recipe, view)
    return view


def inputs_of(recipe: Recipe, dims: Mapping[str, int], labels: int) -> Inputs:
    """The model's inputs: the features of each modality in a role, and the number of labels.

    Raises:
        DataError: A modality has a name that no part of a model can have.
    """
    for name in recipe.data.modalities:
        if "." in name or hasattr(nn.ModuleDict, name):
            raise DataError(
                f"a modality cannot be called {name!r}, as parts of the model are; give it another name with "
                f"data.join={{NAME: [{name}]}}"
            )
    return Inputs(dims, tuple(recipe.data.spiking), recipe.data.context, labels)


def shapes_of(recipe: Recipe) -> tuple[dict[str, Modality], tuple[str, ...], bool]:
    """Modalities, label names, and whether they are the data's own; else as the recipe expects them.

    A stand-in is not made for its shapes alone, where the recipe says what to expect.

    Raises:
        DataError: There is no data, and the recipe does not say what to expect.
    """
    data = recipe.data
    if data.expect and data.labels and not _is_there(recipe):
        return {m: Modality(data.expect[m].dim, data.expect[m].length) for m in data.modalities}, data.labels, False
    view = open_data(recipe)
    return dict(view.modalities), view.labels, True


def _is_there(recipe: Recipe) -> bool:
    return recipe.data.root is not None or recipe.data.name in installed()


def parameters_by_component(model: ZooModel) -> dict[str, int]:
    """The number of learnable parameters of each direct part of a model."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    return {name: count for name, count in counts.items() if count}


def describe(recipe: Recipe) -> dict[str, Any]:
    """What a recipe assembles to: modalities, labels and parameters by component."""
    modalities, labels, from_data = shapes_of(recipe)
    model = assemble(recipe, inputs_of(recipe, {m: each.dim for m, each in modalities.items()}, len(labels)))
    parameters = parameters_by_component(model)
    return {
        "modalities": {m: {"dim": each.dim, "length": each.length} for m, each in modalities.items()},
        "labels": list(labels),
        "shapes_from": "data" if from_data else "recipe",
        "parameters": parameters,
        "total": sum(parameters.values()),
    }


def _check_expected(recipe: Recipe, view: DataView) -> None:
    origin = view.description.origin.get("source", "the data")
    for name, expected in (recipe.data.expect or {}).items():
        found = view.modalities[name].dim if name in view.modalities else expected.dim
        if found != expected.dim:
            raise DataError(
                f"{origin}: {name} has {found} features and the recipe expects {expected.dim}; "
                f"use other data, or set data.expect.{name}.dim={found} if that is what you mean"
            )
    labels = recipe.data.labels
    if labels and labels != view.labels:
        raise DataError(
            f"{origin}: its labels are {', '.join(view.labels)} and the recipe expects {', '.join(labels)}, "
            "in this order; use other data, or set data.labels"
        )
