"""The case on what a component declares that recipes may say of it."""

from __future__ import annotations

import inspect

from neurozoo.recipe.params import REQUIRED, Param, component_params
from neurozoo.testing.findings import ConformanceError, Findings, require


def parameters_fit_a_recipe(findings: Findings) -> None:
    """Keyword-only parameters, annotated, each default within its own bounds; those given are accepted."""
    target, given = findings.candidate.target, findings.candidate.params
    known = component_params(target)
    unknown = sorted(given.keys() - known.keys())
    require(not unknown, f"it has no parameter {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    annotations = inspect.get_annotations(inspect.getattr_static(target, "__init__"))
    for name, param in known.items():
        findings.compared += 1
        annotated, there = name in annotations, param.default is not REQUIRED
        require(annotated, f"the parameter {name!r} has no annotation, so that a recipe's value is not checked")
        require(there or name in given, f"the parameter {name!r} has no default; give the kit one under `params`")
        if there:
            _check_value(param, "default", param.default)
        if name in given:
            _check_value(param, "given value", given[name])
    values = {name: given.get(name, param.default) for name, param in known.items()}
    check = getattr(target, "check_params", None)
    problems = [f"{name}: {problem}" for name, problem in check(**values)] if check is not None else []
    require(not problems, f"check_params refuses its own defaults: {'; '.join(problems)}")


def _check_value(param: Param, what: str, value: object) -> None:
    try:
        problem = param.problem(value)
    except TypeError as error:
        raise ConformanceError(f"the {what} of {param.name!r} cannot stand in a recipe: {error}") from error
    require(not problem, f"the {what} of {param.name!r}, {value!r}, is not what its annotation allows: {problem}")
