"""Models by name, without a recipe and without data."""

from __future__ import annotations

import fnmatch
import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from neurozoo.core.model import Model
from neurozoo.core.published import Variant
from neurozoo.core.recording import neuron_layers
from neurozoo.errors import NeurozooError, UnknownNameError, UserError
from neurozoo.models.build import build_model, expected_problem
from neurozoo.recipe.recipe import Recipe, make_recipe
from neurozoo.registry.registry import Registry, default_registry

__all__ = ["Form", "create_model", "list_models", "model_recipe", "variants"]

Form = Literal["sound", "published"]
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


def list_models(
    pattern: str = "*",
    *,
    task: str | None = None,
    inputs: Inputs | None = None,
    neuron: str | None = None,
    registry: Registry | None = None,
) -> list[str]:
    """Return the names that :func:`create_model` takes, in alphabetical order.

    Args:
        pattern: With ``*`` and ``?``.
        task: The task that a model was published for.
        inputs: What it was published for. With this or another condition, models without published sizes are left out.
        neuron: Kind of neuron in one of its layers, such as ``lif``.
        registry: Where names are looked up; by default what is installed.

    Example:
        >>> neurozoo.list_models("spik*", inputs="frames")
    """
    registry = registry or default_registry()
    found = {
        name
        for name, _, variant in variants(registry)
        if fnmatch.fnmatchcase(name, pattern)
        and task in (None, variant.task)
        and inputs in (None, _inputs(variant))
        and (neuron is None or neuron in _neurons(name, registry))
    }
    if task is inputs is neuron is None:
        found |= {name for name in registry.components("model") if fnmatch.fnmatchcase(name, pattern)}
    return sorted(found)


def create_model(
    name: str,
    *,
    inputs: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    length: int | None = None,
    outputs: int | Sequence[str] | None = None,
    task: str | None = None,
    per_step: bool | None = None,
    neuron: str | Mapping[str, Any] | None = None,
    backend: str = "torch",
    form: Form = "sound",
    registry: Registry | None = None,
    **params: Any,
) -> Model:
    """Build a model with new weights, drawn by torch's generator.

    Args:
        name: A published size, such as ``spikformer-4-384``, or a model, such as ``recurrent``; :func:`list_models`.
        inputs: Axes of a position of the signal, ``(C, H, W)`` or ``(D,)``, or of each signal by name; by default those
            of the published size.
        length: Positions L of the signals; 1 for pictures. By default that of the published size, else 1.
        outputs: Number of outputs K, or their names.
        task: Name of the task; by default that of the published size, else ``multiclass``.
        per_step: Whether there is an answer for each position.
        neuron: The part that fills the slot ``neuron``, a name or ``{"name": ..., "params": {...}}``.
        backend: Name of the backend that the neurons run on.
        form: ``published`` with every quirk of the authors' code, or ``sound`` with none; see the model's ``quirks``.
        registry: Where names are looked up; by default what is installed.
        params: The model's own parameters.

    Returns:
        A module that takes ``[B, L, *inputs]``, pictures as ``[B, C, H, W]``, and returns ``[B, K]``.

    Raises:
        UnknownNameError: There is no such model.
        UserError: A parameter is unknown or does not fit, or a model without published sizes lacks ``inputs``.

    Example:
        >>> model = neurozoo.create_model("spikformer-4-384", outputs=10, backend="numba")
        >>> model(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 10])
    """
    recipe = model_recipe(
        name, inputs=inputs, length=length, outputs=outputs, task=task, per_step=per_step, neuron=neuron,
        backend=backend, form=form, registry=registry, **params,
    )  # fmt: skip
    problem, _ = expected_problem(recipe, registry=registry)
    return build_model(recipe, problem, registry=registry)


def model_recipe(
    name: str,
    *,
    inputs: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    length: int | None = None,
    outputs: int | Sequence[str] | None = None,
    task: str | None = None,
    per_step: bool | None = None,
    neuron: str | Mapping[str, Any] | None = None,
    backend: str = "torch",
    form: Form = "sound",
    registry: Registry | None = None,
    **params: Any,
) -> Recipe:
    """Return the recipe of a model by name, checked; see :func:`create_model`. Its data has no name."""
    registry = registry or default_registry()
    if not isinstance(name, str):
        raise UserError(f"the name of a model is text, and {name!r} is a {type(name).__name__}")
    sizes = {variant: (model, size) for variant, model, size in variants(registry)}
    model, size = sizes.get(name, (name, None))
    if model not in registry.components("model"):
        raise UnknownNameError("model", name, {*registry.components("model"), *sizes})
    if form not in ("sound", "published"):
        raise UserError(f"the form {form!r} is unknown; give sound or published")
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
    positions = 1 if length is None else _whole(f"{name}: length", length)
    expect = {}
    for each, shape in shapes.items():
        where = f"{name}: inputs" if shapes is not inputs else f"{name}: inputs[{each!r}]"
        if isinstance(shape, str | bytes) or not isinstance(shape, Iterable):
            raise UserError(f"{where} is {shape!r}; give the axes of a position such as (C, H, W) or (D,)")
        axes = [_whole(where, axis) for axis in shape]
        expect[each] = {"shape": axes, "length": positions, "dtype": "float32" if axes else "int64"}
    if isinstance(outputs, str | bytes | Mapping):  # a text is a sequence of letters
        raise UserError(f"{name}: outputs is {outputs!r}; give a number, or a list of names")
    if isinstance(outputs, Iterable):
        names = list(outputs)
    else:
        names = list(map(str, range(_whole(f"{name}: outputs", outputs))))
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


def _whole(what: str, value: Any) -> int:
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


def _inputs(variant: Variant) -> Inputs:
    """Return what a published size reads."""
    if len(variant.shape) < 3:
        return "sequences" if variant.shape else "tokens"
    return "pictures" if variant.length == 1 else "frames"


def _neurons(name: str, registry: Registry) -> set[str]:
    """Return the kinds of neurons of a published size, which is built without memory for its weights."""
    with torch.device("meta"):
        model = create_model(name, registry=registry)
    return {layer.spec.kind for layer in neuron_layers(model).values()}
