"""What a component declares that recipes may say of it."""

from __future__ import annotations

import inspect

from neurozoo.recipe.params import REQUIRED, Param, component_params
from neurozoo.testing.findings import ConformanceError, Findings

__all__ = ["check_declared"]


def check_declared(findings: Findings) -> None:
    """A component's ``params`` can be read, and what it has by default or was given passes its own rules.

    Raises:
        ConformanceError: A parameter has no annotation, a default or a value given is refused, or
            one that is needed was not given.
        PluginError: The annotations cannot be read.
    """
    target, given = findings.candidate.target, findings.candidate.params
    known = component_params(target)
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ConformanceError(f"it has no parameter {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    annotations = inspect.get_annotations(inspect.getattr_static(target, "__init__"))
    for name, param in known.items():
        findings.compared += 1
        if name not in annotations:
            raise ConformanceError(f"the parameter {name!r} has no annotation, so that a recipe's value is not checked")
        if param.default is REQUIRED and name not in given:
            raise ConformanceError(f"the parameter {name!r} has no default; give the kit one under `params`")
        if param.default is not REQUIRED:
            _check_value(param, "default", param.default)
        if name in given:
            _check_value(param, "given value", given[name])
    values = {name: given.get(name, param.default) for name, param in known.items()}
    check = getattr(target, "check_params", None)
    problems = [f"{name}: {problem}" for name, problem in check(**values)] if check is not None else []
    if problems:
        raise ConformanceError(f"check_params refuses its own defaults: {'; '.join(problems)}")


def _check_value(param: Param, what: str, value: object) -> None:
    try:
        problem = param.problem(value)
    except TypeError as error:
        raise ConformanceError(f"the {what} of {param.name!r} cannot stand in a recipe: {error}") from error
    if problem:
        raise ConformanceError(f"the {what} of {param.name!r}, {value!r}, is not what its annotation allows: {problem}")
