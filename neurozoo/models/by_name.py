"""Models by name, without a recipe and without data."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, SupportsIndex, cast, get_args

import numpy as np
import torch

from neurozoo.core.earlier_names import current_name
from neurozoo.core.model import Model
from neurozoo.core.published import Variant
from neurozoo.errors import NeurozooError, UnknownNameError, UserError
from neurozoo.recipe.recipe import Recipe, make_recipe
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["Form", "Inputs", "form_of_now", "inputs_of", "model_recipe", "variants", "whole_number"]

Form = Literal["corrected", "published"]
Inputs = Literal["pictures", "frames", "sequences", "tokens"]
NAME = "input"
"""Name of the signal of a model that is created by name."""


def variants(registry: Registry | None = None) -> Iterator[tuple[str, str, Variant]]:
    """Yield every published size as (name, name of its model, size); models that cannot be imported are left out."""
    registry = registry or default_registry()
    for model in registry.components("model"):
        try:
            with torch.device("cpu"):  # modules compute at their import, which another default device may refuse
                made: type[Model] = registry.resolve("model", model)
        except NeurozooError:
            continue
        for name, variant in made.variants.items():
            yield name, model, variant


def model_recipe(
    name: str,
    *,
    inputs: int | Sequence[int] | Mapping[str, int | Sequence[int]] | None = None,
    length: int | None = None,
    outputs: int | Sequence[str] | None = None,
    task: str | None = None,
    per_step: bool | None = None,
    neuron: str | Mapping[str, Any] | None = None,
    backend: str = "torch",
    form: Form = "corrected",
    registry: Registry | None = None,
    **params: Any,
) -> Recipe:
    """Return the recipe of a model by name, checked; see :func:`neurozoo.create_model`. Its data has no name."""
    registry = registry or default_registry()
    if not isinstance(name, str):
        raise UserError(f"the name of a model is text, and {name!r} is a {type(name).__name__}")
    sizes = {variant: (model, size) for variant, model, size in variants(registry)}
    model, size = sizes.get(name, (name, None))
    if model not in registry.components("model"):
        raise UnknownNameError("model", name, {*registry.components("model"), *sizes})
    form = form_of_now(form)
    made: type[Model] = registry.resolve("model", model)
    if form == "published":
        if made.authors_names is None:
            raise UserError(f"{name} is no published model, and has one form only; `neurozoo list sizes` has those")
        params = {each: quirk.published for each, quirk in made.quirks.items()} | params
    if size is not None:
        params = {**size.params, **params}
        inputs, length = size.shape if inputs is None else inputs, size.length if length is None else length
        neuron = size.neuron if neuron is None else neuron
        outputs, task = size.outputs if outputs is None else outputs, size.task if task is None else task
        per_step = size.per_step if per_step is None else per_step
    if inputs is None or outputs is None:
        sizes_of_it = [each for each, (of, _) in sizes.items() if of == model]
        known = f"a model and no size; its published sizes are: {', '.join(sizes_of_it)}. Name one, or"
        raise UserError(
            f"{name} is {known if sizes_of_it else 'a model without published sizes;'} give inputs=(...), the axes of "
            "a position such as (C, H, W) or (D,), and outputs, a number or names"
        )
    shapes = inputs if isinstance(inputs, Mapping) else {NAME: inputs}
    if not shapes:
        raise UserError(f"{name}: inputs names no signal; give the axes of a position such as (C, H, W) or (D,)")
    positions = 1 if length is None else whole_number(f"{name}: length", length)
    expect = {}
    for each, shape in shapes.items():
        where = f"{name}: inputs" if shapes is not inputs else f"{name}: inputs[{each!r}]"
        axes = axes_of(where, shape)
        expect[each] = {"shape": axes, "length": positions, "dtype": "float32" if axes else "int64"}
    if isinstance(outputs, str | bytes | Mapping):  # a text is a sequence of letters
        raise UserError(f"{name}: outputs is {outputs!r}; give a number, or a list of names")
    if isinstance(outputs, Iterable):
        names = list(outputs)
    else:
        names = list(map(str, range(whole_number(f"{name}: outputs", outputs))))
    if not isinstance(neuron, str | Mapping | None):
        raise UserError(f"{name}: neuron is {neuron!r}; give a name, or {{'name': ..., 'params': {{...}}}}")
    parts = {} if neuron is None else {"neuron": {"name": neuron} if isinstance(neuron, str) else dict(neuron)}
    content: dict[str, Any] = {
        "schema": 2,
        "backend": backend,
        "data": {"name": "unnamed", "expect": expect},
        "task": {"name": "multiclass" if task is None else task, "per_step": per_step or False, "outputs": names},
        "model": {"name": model, "params": {key: _plain(f"{name}: {key}", each) for key, each in params.items()}},
    }
    content["model"]["parts"] = _plain(f"{name}: neuron", parts)
    return make_recipe(content, name, registry)


def axes_of(what: str, shape: Any) -> list[int]:
    """Return the axes of a position; a number is that of its features.

    Raises:
        UserError: It is something else, or an axis is no whole number from 1 on.
    """
    if isinstance(shape, str | bytes | float) or not isinstance(shape, Iterable | SupportsIndex):
        raise UserError(f"{what} is {shape!r}; give the axes of a position such as (C, H, W) or (D,)")
    return [whole_number(what, axis) for axis in (shape if isinstance(shape, Iterable) else (shape,))]


def form_of_now(form: str) -> Form:
    """Return a form of published models by its name of now or earlier.

    Raises:
        UserError: There is no such form.
    """
    name = current_name("form", form)
    if name not in get_args(Form):
        raise UserError(f"the form {form!r} is unknown; give {' or '.join(get_args(Form))}")
    return cast(Form, name)


def whole_number(what: str, value: Any) -> int:
    """Return a whole number from 1 on.

    Raises:
        UserError: It is another value.
    """
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number < 2**31:
        raise UserError(f"{what} is {value!r}; give a whole number from 1 to {2**31 - 1}")
    return number


def _plain(what: str, value: Any) -> Any:
    """Return a value as a recipe's file would hold it: tuples become lists, numbers of NumPy those of Python.

    Raises:
        UserError: A recipe cannot hold it.
    """

    def of_numpy(inside: Any) -> Any:
        if isinstance(inside, np.generic | np.ndarray):
            return inside.tolist()
        raise TypeError(f"it holds a {type(inside).__name__}")

    try:
        return json.loads(json.dumps(value, default=of_numpy, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{what} cannot be in a recipe ({error}); give finite numbers, text, lists, or true and false"
        ) from error


def inputs_of(shape: tuple[int, ...], length: int) -> Inputs:
    """Return what a signal is called by its shape."""
    if len(shape) < 3:
        return "sequences" if shape else "tokens"
    return "pictures" if length == 1 else "frames"
