"""Recipes: YAML in, a frozen and validated :class:`Recipe` out, every problem reported at once.

A recipe is data: it holds mappings, lists, text, numbers, true, false and null. Importing this module imports no torch.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr

from neurozoo.core.earlier_names import current_name, earlier_name
from neurozoo.errors import RecipeError
from neurozoo.recipe.messages import MOST_PROBLEMS, shown
from neurozoo.recipe.overrides import apply_override, expand_names, put_value, set_value
from neurozoo.recipe.params import Key, tree_problems, with_defaults
from neurozoo.recipe.schema import (
    DataSection,
    EvaluationSection,
    ModelSection,
    Name,
    Section,
    Seed,
    TaskSection,
    TrainingSection,
    TuneSection,
)
from neurozoo.recipe.stored_task import stored_task
from neurozoo.recipe.upgrade import moved_path, upgraded, upgraded_overrides, with_names_of_now
from neurozoo.recipe.validation import space_problems, validated
from neurozoo.recipe.yaml_text import COMMAND_LINE, LARGEST, Origins, as_yaml, find_file, parse, read_text
from neurozoo.registry.registry import Registry

__all__ = ["SCHEMA", "Recipe", "check_names", "load_recipe", "make_recipe"]

SCHEMA = 2
"""The version of the recipe's layout that this neurozoo writes; it reads 1 as well."""

# It names a folder of runs, so no path separators.
Variant = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()_+-]*$")]

FASTEST = "fastest"
"""As a backend: the fastest of the installed ones."""


class Recipe(Section):
    """Everything that decides a run, frozen.

    Attributes:
        schema_version: Version of this layout, ``schema`` in YAML.
        description: One line for ``neurozoo list``.
        seed: Of the weights, the order of samples and the dropout.
        backend: The registered backend whose neuron is used; ``fastest`` stands for a fused one, see
            :meth:`~neurozoo.registry.registry.Registry.fastest_backend`, and is resolved where names are checked.
        data: What to learn from.
        task: What the model's outputs mean; by default the task of the store in ``data.root``.
        model: The model and its parts.
        training: How the weights are found.
        evaluation: How the model is measured.
        ablations: Variants to compare it with, each a list of overrides ``key.sub=value``.
        tune: What ``neurozoo tune`` may choose.
    """

    schema_version: Literal[2] = Field(alias="schema")
    description: str = ""
    seed: Seed = 1
    backend: Name = "torch"
    data: DataSection
    task: TaskSection
    model: ModelSection
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    ablations: Mapping[Variant, tuple[str, ...]] = Field(default_factory=dict)
    tune: TuneSection | None = None

    _origins: Origins = PrivateAttr(default_factory=lambda: Origins("recipe"))
    _before: str = PrivateAttr(default="")
    _was_fastest: bool = PrivateAttr(default=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        if "full" in self.ablations:
            yield "ablations", "'full' is the recipe as it stands; give the variant another name"

    @property
    def was_fastest(self) -> bool:
        """Whether its backend was ``fastest``, and was resolved where its names were checked."""
        return self._was_fastest

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self._origins.file).stem

    def named(self, name: str) -> Recipe:
        """Return the recipe under the name, of now or earlier, that it had before it was copied to another file."""
        renamed = self.model_copy()
        now = current_name("recipe", name, quiet=True)
        renamed._origins = Origins(f"{now}.yaml", dict(self._origins.places))
        return renamed

    @property
    def content(self) -> dict[str, Any]:
        """The resolved recipe as plain mappings, lists and scalars, defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved content, hexadecimal; the same whatever file it came from.

        The ablations, the search and the loggers are left out: they do not change the run. A description that a later
        version changed counts as it was, so that digests that other files recorded stay those of the recipe.
        """
        return _digest(self.content)

    def is_of(self, digest: object) -> bool:
        """Whether a digest that a run or checkpoint recorded is of this recipe.

        A recipe has two: that of its resolved content, and that of its file as it stands. The latter is what an earlier
        version recorded for the resolved recipe of a run, which lacks the keys that were added since.
        """
        return bool(digest) and digest in (self.digest, self._before)

    def origin_of(self, path: str) -> str:
        """Where the value at a dotted path comes from: ``file:line``, ``command line`` or ``default``."""
        # A key may contain dots, such as those of `tune.space`.
        key = next((key for key in self._origins.places if ".".join(map(str, key)) == path), None)
        if key is None:
            return "default"
        place = self._origins.places[key]
        return COMMAND_LINE if place is None else f"{self._origins.file}:{place[0]}"

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, which :func:`load_recipe` reads back to an equal one."""
        return as_yaml(self.content)

    def with_overrides(
        self, overrides: Sequence[str], *, backend: str | None = None, registry: Registry | None = None
    ) -> Recipe:
        """The same recipe with some values replaced, as :func:`load_recipe` does.

        Raises:
            RecipeError: The result is not valid.
        """
        origins = Origins(self._origins.file, dict(self._origins.places))
        return _finish(self.content, origins, [], overrides, backend, registry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.digest)


def _digest(content: Mapping[str, Any]) -> str:
    decisive = {key: value for key, value in content.items() if key not in ("ablations", "tune")}
    if isinstance(decisive.get("description"), str):
        decisive["description"] = earlier_name("description", decisive["description"])
    if isinstance(decisive.get("training"), Mapping):
        known = {key: value for key, value in decisive["training"].items() if key != "loggers"}
        training = _as_before(known, losses=None, accumulated="mean", recompute=None)
        for key, value in training.items():
            if key == "rate_penalty":
                training[key] = _as_before(value, rates=None, operations=None)
            elif key == "penalties" and isinstance(value, Sequence):
                training[key] = [_as_before(each, rates=None, operations=None) for each in value]
            elif key == "scheduler":
                training[key] = _as_before(value, from_start=False)
        decisive["training"] = training
    text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_before(section: Any, **later: Any) -> Any:
    """Return a section as versions wrote it that did not know some keys, if these are empty or have their defaults."""
    if not isinstance(section, Mapping):
        return section
    return {key: value for key, value in section.items() if key not in later or (value and value != later[key])}


def load_recipe(
    source: str | Path | Recipe | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    backend: str | None = None,
    registry: Registry | None = None,
) -> Recipe:
    """Read a recipe.

    Args:
        source: A file, the name of a shipped recipe, a recipe that was read before, or the content of a file as a
            dictionary.
        overrides: ``key.sub=value`` with the value in YAML, applied in order.
        backend: Replaces the recipe's backend.
        registry: Where given, names and the components' parameters are checked as well, their
            defaults are filled in, and so their classes (and torch) are imported.

    Raises:
        RecipeError: It cannot be read, or something in it is wrong; holds every problem.

    Example:
        >>> recipe = load_recipe("smile_mosei_corrected", ["training.epochs=3"], backend="torch")
    """
    if isinstance(source, Recipe):
        return source.with_overrides(overrides, backend=backend, registry=registry)
    if isinstance(source, Mapping):
        content = copy.deepcopy(dict(source))
        return _finish(content, Origins("recipe", in_file=False), [], overrides, backend, registry).named("recipe")
    path, file = find_file(source)
    content, origins, problems = parse(read_text(path, file), file)
    return _finish(content, origins, problems, overrides, backend, registry)


def make_recipe(content: Mapping[str, Any], name: str, registry: Registry) -> Recipe:
    """Make a recipe of plain content that no file holds, checked as one of a file.

    Args:
        content: Mappings, lists, text, numbers, true, false and null, which stay as they are.
        name: What it is called in messages.
        registry: Where names and the components' parameters are looked up.

    Raises:
        RecipeError: Something in it is wrong; holds every problem.
    """
    return _finish(copy.deepcopy(dict(content)), Origins(name, in_file=False), [], (), None, registry).named(name)


def check_names(recipe: Recipe, registry: Registry) -> Recipe:
    """Return a recipe with the components' own defaults filled in; imports their classes.

    Raises:
        RecipeError: Something is unknown, missing or does not fit; holds every problem.
    """
    checked = _finish(recipe.content, recipe._origins, [], (), None, registry)
    checked._before = recipe._before
    return checked


def _finish(
    content: dict[str, Any],
    origins: Origins,
    problems: list[tuple[tuple[int, int], str]],
    overrides: Sequence[str],
    backend: str | None,
    registry: Registry | None,
) -> Recipe:
    """Apply overrides, validate, and return the recipe or raise every problem, in order of lines."""
    expand_names(content, origins)
    before = "" if overrides or backend is not None else _digest(content)
    if type(content.get("schema")) is int and content["schema"] == 1:
        overrides = upgraded_overrides(overrides, content)
        content = upgraded(content, origins.move)
    else:
        overrides = [
            f"{moved_path(path)}{equals}{value}" for path, equals, value in (o.partition("=") for o in overrides)
        ]
    content = with_names_of_now(content)
    for override in overrides:
        problems.extend(((LARGEST, 0), f"{COMMAND_LINE}: {p}") for p in apply_override(content, origins, override))
        expand_names(content, origins)
    if backend is not None:
        put_value(content, origins, ("backend",), backend)
    if "task" not in content and (task := stored_task(content.get("data"))) is not None:
        content["task"] = task
    schema = content.get("schema", SCHEMA)
    if type(schema) is not int or schema != SCHEMA:
        # All other problems would be found by the wrong rules.
        problem = f"found {shown(schema)}; give one of: 1, {SCHEMA}"
        if type(schema) is int:
            problem = (
                f"this recipe has schema {schema}, and this neurozoo reads the schemas 1 and {SCHEMA}; "
                "install a neurozoo that reads it, or rewrite the recipe for this one"
            )
        raise RecipeError(origins.line(("schema",), problem)[1])
    recipe, found = validated(Recipe, content)
    was_fastest = registry is not None and content.get("backend") == FASTEST
    if registry is not None and recipe is not None and was_fastest:
        # Resolved once, here: everything that is trained, recorded and compared has the backend's real name.
        content["backend"] = registry.fastest_backend(recipe.training.device)
        recipe, found = validated(Recipe, content)
    if registry is not None:
        # A backend that the registry chose is there; importing it takes `show` and `list` a sixth more time.
        checked = content | {"backend": "torch"} if was_fastest else content
        found += islice(tree_problems(checked, registry), MOST_PROBLEMS + 1)
    space = content["tune"].get("space") if isinstance(content.get("tune"), dict) else None
    if isinstance(space, dict):
        found += space_problems(space, lambda changes: _problems_with(content, changes, registry))
    problems.extend(origins.line(path, problem) for path, problem in found)
    if problems or recipe is None:
        texts = [problem for _, problem in sorted(problems, key=lambda each: each[0])]
        more = ["there are more problems; correct these first"] if len(texts) > MOST_PROBLEMS else []
        raise RecipeError(*texts[:MOST_PROBLEMS], *more)
    if registry is not None:
        recipe = Recipe.model_validate_json(json.dumps(with_defaults(recipe.content, registry)))
    recipe._origins, recipe._before, recipe._was_fastest = origins, before, was_fastest
    return recipe


def _problems_with(
    content: Mapping[str, Any], changes: Mapping[str, Any], registry: Registry | None
) -> list[tuple[Key, str]]:
    """Return the problems of a recipe's content with some values changed, by their paths."""
    changed = copy.deepcopy({key: value for key, value in content.items() if key not in ("ablations", "tune")})
    nowhere = Origins("")
    found: list[tuple[Key, str]] = []
    for dotted, value in changes.items():
        keys = tuple(dotted.split("."))
        problem = f"{dotted!r} is no path such as training.epochs"
        if problem := set_value(changed, nowhere, keys, value) if all(keys) else problem:
            found.append((keys, problem))
        expand_names(changed, nowhere)
    found += validated(Recipe, changed)[1]
    return found if registry is None else [*found, *islice(tree_problems(changed, registry), MOST_PROBLEMS)]
