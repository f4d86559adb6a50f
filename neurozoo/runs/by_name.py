"""Models by name: new ones without a recipe and without data, and trained ones that come with neurozoo."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from neurozoo.core.model import Model
from neurozoo.core.recording import neuron_layers
from neurozoo.core.signals import SignalShape
from neurozoo.errors import UserError
from neurozoo.models.build import build_model, expected_problem, make_problem
from neurozoo.models.by_name import (
    Form,
    Inputs,
    axes_of,
    form_of_now,
    inputs_of,
    model_recipe,
    variants,
    whole_number,
)
from neurozoo.registry.registry import Registry, default_registry
from neurozoo.runs.loading import TrainedModel, load
from neurozoo.runs.packed import Packed, read_manifest
from neurozoo.runs.shipped_models import shipped_model, shipped_models

__all__ = ["create_model", "list_models"]


def list_models(
    pattern: str = "*",
    *,
    task: str | None = None,
    inputs: Inputs | None = None,
    neuron: str | None = None,
    pretrained: bool = False,
    registry: Registry | None = None,
) -> list[str]:
    """Return the names that :func:`create_model` takes, in alphabetical order.

    Args:
        pattern: With ``*`` and ``?``.
        task: The task that a model was published or trained for.
        inputs: What it was published or trained for. With this or another condition, models without published sizes are
            left out.
        neuron: Kind of neuron in one of its layers, such as ``lif``.
        pretrained: Whether to list the trained models that come with neurozoo, and only them.
        registry: Where names are looked up; by default what is installed.

    Example:
        >>> neurozoo.list_models("spik*", inputs="frames")
    """
    registry = registry or default_registry()
    if pretrained:
        return sorted(_trained(pattern, task, inputs, neuron))
    found = {
        name
        for name, _, variant in variants(registry)
        if fnmatch.fnmatchcase(name, pattern)
        and task in (None, variant.task)
        and inputs in (None, inputs_of(variant.shape, variant.length))
        and (neuron is None or neuron in _neurons(name, registry))
    }
    if task is inputs is neuron is None:
        found |= {name for name in registry.components("model") if fnmatch.fnmatchcase(name, pattern)}
    return sorted(found)


def create_model(
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
    pretrained: bool = False,
    registry: Registry | None = None,
    **params: Any,
) -> Model:
    """Build a model with new weights, drawn by torch's generator, or with trained ones.

    Args:
        name: A published size, such as ``spikformer-4-384``, or a model, such as ``recurrent``; :func:`list_models`.
            If ``pretrained``, the name of a trained model that comes with neurozoo, or a run folder or a packed one.
        inputs: Axes of a position of the signal, ``(C, H, W)`` or ``(D,)``, the number D alone, or these of each signal
            by name; by default those of the published size or of the trained model.
        length: Positions L of the signals; 1 for pictures. By default as for ``inputs``, else 1.
        outputs: Number of outputs K, or their names.
        task: Name of the task; by default as for ``inputs``, else ``multiclass``.
        per_step: Whether there is an answer for each position.
        neuron: The part that fills the slot ``neuron``, a name or ``{"name": ..., "params": {...}}``.
        backend: Name of the backend that the neurons run on.
        form: ``published`` with every quirk of the authors' code, or ``corrected`` with none; see the model's
            ``quirks``.
        pretrained: Whether to load trained weights. With other inputs, outputs or another task than it was trained for,
            the tensors whose shapes fit are loaded, and a warning names those that stay new.
        registry: Where names are looked up; by default what is installed.
        params: The model's own parameters.

    Returns:
        A module that takes ``[B, L, *inputs]``, pictures as ``[B, C, H, W]``, and returns ``[B, K]``; a trained one in
        evaluation mode.

    Raises:
        UnknownNameError: There is no such model.
        UserError: A parameter is unknown or does not fit, or a model without published sizes lacks ``inputs``.
        RunError: There is no such trained model.

    Example:
        >>> model = neurozoo.create_model("spikformer-4-384", outputs=10, backend="numba")
        >>> model(torch.rand(8, 3, 32, 32)).shape
        torch.Size([8, 10])
        >>> digits = neurozoo.create_model("fsdd-unseen", pretrained=True)
    """
    if pretrained:
        fixed = {"neuron": neuron, "form": None if form_of_now(form) == "corrected" else form, **params}
        if wrong := [each for each, value in fixed.items() if value is not None]:
            raise UserError(
                f"{name}: a trained model has its own {', '.join(wrong)}; leave out what is not inputs, length, "
                "outputs, task or per_step"
            )
        trained = load(name, backend=backend)
        return _adapted(name, trained, inputs, length, outputs, task, per_step)
    recipe = model_recipe(
        name, inputs=inputs, length=length, outputs=outputs, task=task, per_step=per_step, neuron=neuron,
        backend=backend, form=form, registry=registry, **params,
    )  # fmt: skip
    problem, _ = expected_problem(recipe, registry=registry)
    return build_model(recipe, problem, registry=registry)


def _adapted(
    name: str,
    trained: TrainedModel,
    inputs: int | Sequence[int] | Mapping[str, int | Sequence[int]] | None,
    length: int | None,
    outputs: int | Sequence[str] | None,
    task: str | None,
    per_step: bool | None,
) -> Model:
    """A trained model for other inputs and outputs, with the trained tensors that fit; itself if nothing is other."""
    old = trained.module.problem
    signals = _signals(name, old.signals, inputs, length)
    names = old.task.outputs
    if isinstance(outputs, str) or (isinstance(outputs, Sequence) and not outputs):
        raise UserError(f"{name}: outputs is {outputs!r}; give a number, or a list of names")
    if isinstance(outputs, Sequence):
        names = tuple(outputs)
    elif outputs is not None and whole_number(f"{name}: outputs", outputs) != len(names):
        names = tuple(map(str, range(outputs)))
    steps = old.task.per_step if per_step is None else per_step
    wanted = old.task.name if task is None else task
    if (signals, names, steps, wanted) == (dict(old.signals), old.task.outputs, old.task.per_step, old.task.name):
        return trained.module
    recipe = trained.recipe
    changed = recipe.task.model_copy(
        update={"name": wanted, "per_step": steps, "outputs": names}
        | ({} if wanted == old.task.name else {"params": {}})
    )
    recipe = recipe.model_copy(update={"task": changed})
    model = build_model(recipe, make_problem(recipe, signals, names))
    there, state = trained.module.state_dict(), model.state_dict()
    fitting = {key: there[key] for key, each in state.items() if key in there and there[key].shape == each.shape}
    if not fitting:
        raise UserError(f"{name}: no trained tensor fits these inputs and outputs; create the model without pretrained")
    model.load_state_dict(fitting, strict=False)
    if new := [f"{key} {list(each.shape)}" for key, each in state.items() if key not in fitting]:
        warnings.warn(
            f"{name}: {len(fitting)} trained tensors are loaded, and {len(new)} are new, as their shapes differ, and "
            f"have to be trained: {', '.join(new[:6])}{' and others' if len(new) > 6 else ''}",
            stacklevel=3,
        )
    return model.eval()


def _signals(
    name: str,
    old: Mapping[str, SignalShape],
    inputs: int | Sequence[int] | Mapping[str, int | Sequence[int]] | None,
    length: int | None,
) -> dict[str, SignalShape]:
    there = ", ".join(f"{each} {shape}" for each, shape in old.items())
    if inputs is not None and not isinstance(inputs, Mapping):
        if len(old) > 1:
            raise UserError(f"{name} takes several signals, {there}; give inputs for each by its name")
        inputs = {next(iter(old)): inputs}
    if unknown := sorted({*(inputs or {})} - {*old}):
        raise UserError(f"{name} takes no signal {', '.join(unknown)}; it takes: {there}")
    shapes = dict(old)
    for each, axes in (inputs or {}).items():
        shapes[each] = replace(shapes[each], shape=tuple(axes_of(f"{name}: inputs[{each!r}]", axes)))
    if length is not None:
        positions = whole_number(f"{name}: length", length)
        shapes = {each: replace(shape, length=positions) for each, shape in shapes.items()}
    return shapes


def _trained(pattern: str, task: str | None, inputs: Inputs | None, neuron: str | None) -> Iterator[str]:
    """Names of the trained models that come with neurozoo."""
    for name in shipped_models():
        folder = shipped_model(name)
        if folder is None or not fnmatch.fnmatchcase(name, pattern):
            continue
        packed = read_manifest(folder)
        if (
            task in (None, (packed.task or {"name": "multilabel"})["name"])
            and (inputs is None or inputs in _inputs_of(packed))
            and (neuron is None or any(each.spec.kind == neuron for each in neuron_layers(load(name).module).values()))
        ):
            yield name


def _inputs_of(packed: Packed) -> set[Inputs]:
    lengths = {name: int(signal["length"]) for name, signal in (packed.signals or {}).items()}
    return {inputs_of(shape, lengths.get(name, 1)) for name, shape in packed.shapes.items()}


def _neurons(name: str, registry: Registry) -> set[str]:
    """Return the kinds of neurons of a published size, which is built without memory for its weights."""
    with torch.device("meta"):
        model = create_model(name, registry=registry)
    return {layer.spec.kind for layer in neuron_layers(model).values()}
