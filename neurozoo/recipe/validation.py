"""Check plain content against the sections of a recipe, and find every problem at once."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from neurozoo.errors import suggestion
from neurozoo.recipe.messages import MOST_PROBLEMS, explain
from neurozoo.recipe.params import Key
from neurozoo.recipe.schema import ONE, SEVERAL, Searched, Section

__all__ = ["space_problems", "validated"]

S = TypeVar("S", bound=Section)


def validated(section: type[S], content: Mapping[str, Any]) -> tuple[S | None, list[tuple[Key, str]]]:
    """Return plain content as a section, None if it is not valid, and (path of the value, problem) of each problem."""
    result: S | None = None
    problems: list[tuple[Key, str]] = []
    try:
        # As JSON, so that lists may become tuples and nothing else is converted.
        result = section.model_validate_json(json.dumps(content))
    except ValidationError as error:
        errors: list[dict[str, Any]] = [{**each, "loc": _path(each["loc"])} for each in error.errors()]
        around = {each["loc"][:-1] for each in errors}
        # A list whose only entry is wrong is also reported as too short.
        kept = [each for each in errors if each["type"] != "too_short" or each["loc"] not in around]
        for each in kept[: MOST_PROBLEMS + 1]:
            # pydantic names a wrong key of a mapping as (..., key, "[key]").
            path = each["loc"][:-1] if each["loc"][-1:] == ("[key]",) else each["loc"]
            problems.append((path, _explain(section, each)))
    return result, [*problems, *_combinations(section, content)]


def _path(loc: Key) -> Key:
    """Return where an error is, without the tags of a choice between forms."""
    return tuple(key for key in loc if key not in (ONE, SEVERAL))


def _explain(root: type[Section], error: Any) -> str:
    *around, last = error["loc"] or ("",)
    owner = ".".join(map(str, around)) or "the recipe"
    section = _section_at(root, tuple(around))
    keys = [] if section is None else [info.alias or name for name, info in section.model_fields.items()]
    if error["type"] == "extra_forbidden":
        there = f"{', '.join(keys) or 'none'}{suggestion(str(last), keys)}"
        return f"{owner} has no key {str(last)!r}; there are: {there}"
    if error["type"] == "missing":
        return f"{owner} needs the key {last!r}, which is missing; add it"
    return explain(error)


def _combinations(section: type[Section], content: object, path: Key = ()) -> Iterator[tuple[Key, str]]:
    """Find invalid combinations of keys in each section, also if other keys are wrong."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        below = _section_at(section, (key,))
        if below is not None:
            yield from _combinations(below, value, (*path, key))
        elif isinstance(value, Mapping | list):
            for name, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
                inside = _section_at(section, (key, name))
                if inside is not None:
                    yield from _combinations(inside, entry, (*path, key, name))
    wrong: set[object] = set()
    try:
        checked = section.model_validate_json(json.dumps(content))
    except ValidationError as error:
        wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
        try:
            checked = section.model_validate_json(json.dumps({k: v for k, v in content.items() if k not in wrong}))
        except ValidationError:
            return
    yield from (((*path, key), problem) for key, problem in checked.problems() if key not in wrong)


def _section_at(section: type[Section], path: Key) -> type[Section] | None:
    """Return the section at a path, or None if there is a value."""
    annotation: Any = section
    for key in path:
        annotation = _form_with(annotation, key)
        if isinstance(annotation, type) and issubclass(annotation, Section):
            fields = {info.alias or name: info.annotation for name, info in annotation.model_fields.items()}
            annotation = _bare(fields.get(str(key)))
        else:
            arguments, origin = typing.get_args(annotation), typing.get_origin(annotation)
            annotation = _bare(arguments[-1]) if origin is Mapping else _bare(arguments[0]) if origin is tuple else None
    annotation = _form_with(annotation, "")
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def _form_with(annotation: Any, key: str | int) -> Any:
    """Return the one of several forms, a section or a list of them, that has such a key."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    forms = [_bare(each) for each in typing.get_args(annotation)]
    return next((form for form in forms if (typing.get_origin(form) is tuple) == isinstance(key, int)), annotation)


def _bare(annotation: Any) -> Any:
    """Return an annotation without ``Annotated`` and ``None``."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    choices = [each for each in typing.get_args(annotation) if each is not type(None)]
    return _bare(choices[0]) if len(choices) == 1 and type(None) in typing.get_args(annotation) else annotation


_OTHER_SAMPLES = "trials on other samples cannot be compared"
_KEPT = {
    "schema": "it decides how the recipe is read",
    "description": "it changes nothing",
    "seed": "the luckiest seed is no better model",
    "ablations": "they change nothing",
    "tune": "it is the search itself",
    "data.name": _OTHER_SAMPLES,
    "data.root": _OTHER_SAMPLES,
    "data.instead": _OTHER_SAMPLES,
    "data.valid": _OTHER_SAMPLES,
}
"""The values that cannot be tuned, and why."""


def space_problems(
    space: Mapping[str, Any], problems_with: Callable[[Mapping[str, Any]], list[tuple[Key, str]]]
) -> Iterator[tuple[Key, str]]:
    """Check the paths of a search space and the values they may take.

    Malformed entries are skipped, as the section's own rules report them. ``problems_with`` returns the problems of
    the recipe with some values changed, by path.

    Yields:
        (path of the entry, problem), at most one per entry.
    """
    checked = {path: validated(Searched, entry)[0] for path, entry in space.items() if isinstance(entry, Mapping)}
    samples = {path: searched.samples for path, searched in checked.items() if searched and searched.samples}
    before = problems_with({})
    for path in samples:
        why = _why_kept(path, space)
        found = why or _why_not(path, samples, lambda changes: [p for p in problems_with(changes) if p not in before])
        if found:
            yield ("tune", "space", path), found


def _why_kept(path: str, space: Mapping[str, Any]) -> str:
    for name, why in _KEPT.items():
        if f"{path}.".startswith(f"{name}.") or f"{name}.".startswith(f"{path}."):
            return f"{name} cannot be tuned: {why}; leave it out"
    around = next((other for other in space if path.startswith(f"{other}.")), None)
    return f"it lies within {around!r}, which is in the space as well; name one of the two" if around else ""


def _why_not(
    path: str,
    samples: Mapping[str, tuple[Any, ...]],
    problems_with: Callable[[Mapping[str, Any]], list[tuple[Key, str]]],
) -> str:
    """Return the problem of a value that fits neither the recipe nor the first values of the other entries."""
    key = tuple(path.split("."))
    firsts = {other: values[0] for other, values in samples.items()}
    for value in samples[path]:
        problem = _at(key, problems_with({path: value}))
        if problem and _at(key, problems_with(firsts | {path: value})):
            return problem
    return ""


def _at(key: Key, problems: list[tuple[Key, str]]) -> str:
    """Return the first problem at a key, below it, or at a section around it."""
    return next((problem for path, problem in problems if all(a == b for a, b in zip(path, key, strict=False))), "")
