"""The parameters of components: read from their classes, checked against recipes.

A component's ``params`` are the keyword-only parameters of its class (or function). Their annotations are the rules,
such as ``Annotated[int, Field(ge=1)]``. An optional static method ``check_params(**params)`` of the class yields
(parameter, problem) for parameters that do not go together.
"""

from __future__ import annotations

import builtins
import inspect
import json
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neurozoo.errors import NeurozooError, PluginError, suggestion
from neurozoo.recipe.messages import MOST_PROBLEMS, explain, shown
from neurozoo.registry.hookspecs import Kind
from neurozoo.registry.isolation import text_of
from neurozoo.registry.registry import Registry, slot_kind

__all__ = ["REQUIRED", "Key", "Param", "component_params", "component_problems", "tree_problems", "with_defaults"]

Key = tuple[str | int, ...]
REQUIRED = inspect.Parameter.empty
MOST, LARGEST = 2**32, 1e30
"""Upper ends of the whole and the other numbers of all parameters; each component has its own besides."""
_LISTED: Mapping[str, Kind] = {"augment": "augmentation", "losses": "loss", "loggers": "logger"}
"""Lists of components in ``training``, and their kinds."""
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _readable(annotation: Any) -> str:
    kind, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is typing.Annotated:
        rules = [str(rule) for each in inner[1:] for rule in getattr(each, "metadata", [each])]
        short = [rule.removeprefix(rule.partition("(")[0]).strip("()") for rule in rules]
        return ", ".join([_readable(inner[0]), *short])
    if kind is typing.Literal:
        return " | ".join(map(str, inner))
    if kind in (typing.Union, types.UnionType):
        return " | ".join(map(_readable, inner))
    if kind is not None:
        return f"{kind.__name__}[{', '.join('...' if each is ... else _readable(each) for each in inner)}]"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


@dataclass(frozen=True)
class Param:
    """One parameter of a component.

    Attributes:
        name: Its key in ``params``.
        annotation: Its type, with bounds.
        default: Its value where a recipe gives none, or ``REQUIRED``.
    """

    name: str
    annotation: Any
    default: Any

    @property
    def type(self) -> str:
        """The type in words, such as ``int, ge=1``."""
        return _readable(self.annotation)

    def problem(self, value: object) -> str:
        """Return why a recipe's value cannot be used, or an empty text.

        Raises:
            PluginError: The annotation is none that values can be checked by.
        """
        if problem := _too_large(value):
            return problem
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(self.annotation, config=_STRICT)
            # As JSON, so that a YAML list may become a tuple and nothing else is converted.
            found = adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            return "; or ".join(dict.fromkeys(explain(each) for each in error.errors()[:MOST_PROBLEMS]))
        except Exception as error:  # of pydantic, or of a validator of the plugin's
            raise PluginError(
                f"the parameter {self.name!r} has the annotation {self.type!r}, by which no value can be checked "
                f"({type(error).__name__}: {text_of(error)})"
            ) from error
        # A literal 1 equals true and 1.0 as well; a whole number may stand for a float.
        if isinstance(value, bool | float) and type(found) is not type(value) and found == value:
            return f"found {shown(value)}; give {shown(found)}"
        return ""


def _too_large(value: object) -> str:
    """Return the problem of a number that no parameter needs and torch cannot convert, also inside lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next(filter(None, map(_too_large, value)), "")
    most = MOST if isinstance(value, int) else LARGEST
    if isinstance(value, int | float) and most < abs(value) < math.inf:
        return f"{value} is too large; give at most {most:g}"
    return ""


def component_params(target: Any) -> dict[str, Param]:
    """Return the recipe parameters of a component's class or function, by name.

    Raises:
        PluginError: Its annotations cannot be read.
    """
    function = inspect.getattr_static(target, "__init__") if isinstance(target, type) else target
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function, localns=_constants(target, function), include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise PluginError(
            f"the parameters of {getattr(target, '__qualname__', target)!r} cannot be read ({error}); "
            "its annotations must name types that exist at run time"
        ) from error
    return {
        name: Param(name, hints.get(name, Any), parameter.default)
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


def component_problems(
    kind: Kind, name: str, params: Mapping[str, Any], registry: Registry, base: type[Any] | None = None
) -> Iterator[tuple[str, str]]:
    """Check a component of a recipe, whose class is imported; ``base`` is the base class of a part's slot.

    Yields:
        (parameter, problem); the parameter is empty where the component itself is wrong.
    """
    try:
        target = registry.resolve(kind, name, base)
        known = component_params(target)
    except NeurozooError as error:
        yield "", str(error)
        return
    wrong = False
    for given, value in params.items():
        if given not in known:
            problem = f"{kind} {name!r} has no parameter {given!r}; there are: {', '.join(known) or 'none'}"
            problem += suggestion(given, known)
        else:
            problem = known[given].problem(value)
        if problem:
            wrong = True
            yield given, problem
    for missing in [p for p in known.values() if p.default is REQUIRED and p.name not in params]:
        wrong = True
        yield "", f"{kind} {name!r} needs the parameter {missing.name!r} ({missing.type}); give it under `params`"
    check = getattr(target, "check_params", None)
    if check is not None and not wrong:
        yield from check(**_filled(known, params))


def tree_problems(tree: Mapping[str, Any], registry: Registry) -> Iterator[tuple[Key, str]]:
    """Find every wrong name, slot and parameter of a recipe's content; the components' classes are imported.

    What is missing or malformed is skipped, as the sections' own rules report it.

    Yields:
        (path of the value, problem).
    """
    backend = tree.get("backend", "torch")
    if isinstance(backend, str):
        yield from _at(("backend",), (), component_problems("neuron", backend, {}, registry))
    data, model = tree.get("data"), tree.get("model")
    if isinstance(data, Mapping):
        yield from _ref_problems("data", data.get("instead"), ("data", "instead"), registry)
        represent = data.get("represent")
        for signal, given in represent.items() if isinstance(represent, Mapping) else ():
            path: Key = ("data", "represent", signal)
            yield from _ref_problems("representation", given, path, registry)
            for place, ref in enumerate(given if isinstance(given, list | tuple) else ()):
                yield from _ref_problems("representation", ref, (*path, place), registry)
    wrong = list(_ref_problems("task", tree.get("task"), ("task",), registry))
    yield from wrong or _metric_problems(tree, registry)
    training = tree.get("training")
    for key, kind in _LISTED.items():
        listed = training.get(key) if isinstance(training, Mapping) else None
        for place, ref in enumerate(listed if isinstance(listed, list | tuple) else ()):
            yield from _ref_problems(kind, ref, ("training", key, place), registry)
    if not isinstance(model, Mapping) or not isinstance(model.get("name"), str):
        return
    yield from _ref_problems("model", model, ("model",), registry)
    parts = model.get("parts", {})
    slots, optional, defaults = _slots(model["name"], registry)
    if slots is None or not isinstance(parts, Mapping):
        return
    for slot, ref in parts.items():
        if slot in slots:
            kind, base = slots[slot]
            yield from _ref_problems(kind, ref, ("model", "parts", slot), registry, base)
        else:
            problem = f"model {model['name']!r} has no slot {slot!r}; there are: {', '.join(slots) or 'none'}"
            yield ("model", "parts", slot), problem + suggestion(slot, slots)
    for slot in [slot for slot in slots if slot not in {*parts, *optional, *defaults}]:
        choices = ", ".join(registry.fitting(*slots[slot]))
        yield ("model", "parts"), f"nothing is named for the slot {slot!r}; give one of: {choices}"


def with_defaults(tree: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """Return the content of a valid recipe with the components' defaults filled in.

    Raises:
        NeurozooError: A component cannot be found or imported.
    """
    data, model, training = dict(tree["data"]), dict(tree["model"]), dict(tree["training"])
    task = _with_params("task", tree["task"], registry)
    if data.get("instead") is not None:
        data["instead"] = _with_params("data", data["instead"], registry)
    data["represent"] = {
        signal: [_with_params("representation", ref, registry) for ref in given]
        if isinstance(given, list | tuple)
        else _with_params("representation", given, registry)
        for signal, given in data.get("represent", {}).items()
    }
    slots, _, defaults = _slots(model["name"], registry)
    model = _with_params("model", model, registry)
    parts = {
        **{slot: {"name": name} for slot, name in defaults.items() if slot not in model["parts"]},
        **model["parts"],
    }
    model["parts"] = {slot: _with_params((slots or {})[slot][0], ref, registry) for slot, ref in parts.items()}
    for key, kind in _LISTED.items():
        training[key] = [_with_params(kind, ref, registry) for ref in training.get(key, ())]
    return dict(tree) | {"data": data, "task": task, "model": model, "training": training}


def _constants(target: Any, function: Any) -> dict[str, Any]:
    """Return the names of the class that annotations may use; names of the module and builtins come first."""
    outside = {*vars(builtins), *getattr(function, "__globals__", {})}
    classes = target.__mro__ if isinstance(target, type) else ()
    return {name: value for c in reversed(classes) for name, value in vars(c).items() if name not in outside}


def _slots(
    model: str, registry: Registry
) -> tuple[Mapping[str, tuple[Kind, type[Any] | None]] | None, Collection[str], Mapping[str, str]]:
    """The slots of a model, None if it cannot be imported; which may stay empty; and the names of default parts."""
    try:
        target = registry.resolve("model", model)
    except NeurozooError:
        return None, (), {}
    slots = {name: slot_kind(slot) for name, slot in getattr(target, "slots", {}).items()}
    return slots, getattr(target, "optional", ()), getattr(target, "slot_defaults", {})


def _ref_problems(
    kind: Kind, ref: object, path: Key, registry: Registry, base: type[Any] | None = None
) -> Iterator[tuple[Key, str]]:
    if not isinstance(ref, Mapping) or not isinstance(ref.get("name"), str):
        return
    params = ref.get("params", {})
    found = component_problems(kind, ref["name"], params if isinstance(params, Mapping) else {}, registry, base)
    yield from _at((*path, "name"), (*path, "params"), found)


def _metric_problems(tree: Mapping[str, Any], registry: Registry) -> Iterator[tuple[Key, str]]:
    """Find metrics to choose epochs or trials by that the task does not have."""
    task = tree.get("task")
    if not isinstance(task, Mapping) or not isinstance(task.get("name"), str):
        return
    params = task.get("params", {})
    if not isinstance(params, Mapping):
        return
    # Names of metrics do not depend on the outputs; how many weights there may be does.
    count = max((len(each) for each in params.values() if isinstance(each, list | tuple)), default=1)
    try:
        made = registry.resolve("task", task["name"])(tuple(map(str, range(count))), **params)
    except NeurozooError:
        return
    for path in (("training", "best"), ("training", "scheduler", "metric"), ("tune", "metric")):
        name: object = tree
        for key in path:
            name = name.get(key) if isinstance(name, Mapping) else None
        if isinstance(name, str) and name not in made.names:
            known = f"{', '.join(made.names)}{suggestion(name, made.names)}"
            yield path, f"found the text {name!r}; give one of: {known}"


def _at(name: Key, params: Key, problems: Iterator[tuple[str, str]]) -> Iterator[tuple[Key, str]]:
    for param, problem in problems:
        yield ((*params, param) if param else name), problem


def _filled(known: Mapping[str, Param], params: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {name: param.default for name, param in known.items() if param.default is not REQUIRED}
    return dict(params) | {name: value for name, value in defaults.items() if name not in params}


def _with_params(kind: Kind, ref: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    known = component_params(registry.resolve(kind, ref["name"]))
    return dict(ref) | {"params": _filled(known, ref.get("params", {}))}
