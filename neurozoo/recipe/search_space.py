"""Whether what a recipe's ``tune.space`` names can be tuned: an override may set each path to each of its values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neurozoo.recipe.params import Key
from neurozoo.recipe.schema import Searched
from neurozoo.recipe.validation import validated

__all__ = ["space_problems"]

_OTHER_SAMPLES = "trials on other samples cannot be compared"
_KEPT = {
    "schema": "it says how the recipe is read",
    "description": "it changes nothing",
    "seed": "the luckiest seed is no better model",
    "ablations": "they change nothing",
    "tune": "it is the search itself",
    "data.name": _OTHER_SAMPLES,
    "data.root": _OTHER_SAMPLES,
    "data.instead": _OTHER_SAMPLES,
    "data.valid": _OTHER_SAMPLES,
}
"""What is not tuned, and why."""


def space_problems(
    space: Mapping[str, Any], problems_with: Callable[[Mapping[str, Any]], list[tuple[Key, str]]]
) -> Iterator[tuple[Key, str]]:
    """What is wrong with the paths of a search space, and with the values they may take.

    Args:
        space: What is searched, by path, whole or not; entries of the wrong form are passed over, since the
            section's own rules report them.
        problems_with: What is wrong with the recipe when values are changed, by path.

    Yields:
        (path of the entry, problem), one an entry.
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
    """The problem of a value that goes neither with the recipe as it stands nor with the first values of the others."""
    key = tuple(path.split("."))
    firsts = {other: values[0] for other, values in samples.items()}
    for value in samples[path]:
        problem = _at(key, problems_with({path: value}))
        if problem and _at(key, problems_with(firsts | {path: value})):
            return problem
    return ""


def _at(key: Key, problems: list[tuple[Key, str]]) -> str:
    """The first problem at a key, below it, or at a section around it."""
    return next((problem for path, problem in problems if all(a == b for a, b in zip(path, key, strict=False))), "")
