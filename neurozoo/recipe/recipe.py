"""Recipes: YAML in, a frozen and validated :class:`Recipe` out, every problem told at once.

The only module that knows YAML. A recipe is data: it holds mappings, lists, text, numbers,
true, false and null, and no tag or alias of YAML's is followed, so that a stranger's recipe can
run nothing and cannot grow. Importing this module imports no torch.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from neurozoo.errors import RecipeError, nearest
from neurozoo.recipe.messages import shown
from neurozoo.recipe.params import Key, tree_problems, with_defaults
from neurozoo.recipe.schema import (
    DataSection,
    EvaluationSection,
    ModelSection,
    Name,
    Section,
    Seed,
    TrainingSection,
    TuneSection,
)
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.recipe.validation import space_problems, validated
from neurozoo.registry.registry import Registry

__all__ = ["SCHEMA", "Recipe", "check_names", "load_recipe", "override", "shipped_recipes"]

SCHEMA = 1
"""The version of the recipe's layout that this neurozoo reads."""

# Names a folder of runs, so nothing that leaves one.
Variant = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ()_+-]*$")]

_LARGEST = 1_000_000  # bytes; a recipe is a page, and anything larger is another file given by mistake
_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
FASTEST = "fastest"
"""As a backend: whichever is, of those that are installed."""
_COMMAND_LINE = "command line"


@dataclass
class _Origins:
    """Where each value was written: (line, column) in the file, or None for the command line."""

    file: str
    places: dict[Key, tuple[int, int] | None] = field(default_factory=dict)

    def nearest(self, path: Key) -> tuple[int, int] | None:
        """The place of a value; of the section around it, where it was not written at all."""
        ends = (path[:n] for n in range(len(path), 0, -1))
        return next((self.places[end] for end in ends if end in self.places), (1, 1))

    def line(self, path: Key, problem: str) -> tuple[tuple[int, int], str]:
        """A problem as people read it, with what to sort it by; the command line comes last."""
        place = self.nearest(path)
        what = f"{'.'.join(map(str, path))}: {problem}" if path else problem
        if place is None:
            return (_LARGEST, 0), f"{_COMMAND_LINE}: {what}"
        return place, f"{self.file}:{place[0]}:{place[1]}: {what}"


class Recipe(Section):
    """Everything that decides a run, frozen.

    Attributes:
        schema_version: Version of this layout, ``schema`` in YAML.
        description: One line for ``neurozoo list``.
        seed: Of the weights, the order of samples and the dropout.
        backend: The registered backend whose neuron is used; ``fastest`` stands for a fused one, see
            :meth:`~neurozoo.registry.registry.Registry.fastest_backend`, and is resolved where names are checked.
        data: What to learn from.
        model: The model and its parts.
        training: How the weights are found.
        evaluation: How the model is measured.
        ablations: Variants to compare it with, each a list of overrides ``key.sub=value``.
        tune: What ``neurozoo tune`` may choose.
    """

    schema_version: Literal[1] = Field(alias="schema")
    description: str = ""
    seed: Seed = 1
    backend: Name = "torch"
    data: DataSection
    model: ModelSection
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)
    ablations: Mapping[Variant, tuple[str, ...]] = Field(default_factory=dict)
    tune: TuneSection | None = None

    _origins: _Origins = PrivateAttr(default_factory=lambda: _Origins("recipe"))

    def problems(self) -> Iterator[tuple[str, str]]:
        if "full" in self.ablations:
            yield "ablations", "'full' is the recipe as it stands; give the variant another name"

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self._origins.file).stem

    def named(self, name: str) -> Recipe:
        """The same recipe under the name it had before it was copied to another file."""
        renamed = self.model_copy()
        renamed._origins = _Origins(f"{name}.yaml", dict(self._origins.places))
        return renamed

    @property
    def content(self) -> dict[str, Any]:
        """The resolved recipe as plain mappings, lists and scalars, defaults filled in."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved content, hexadecimal; the same whatever file it came from.

        The ablations, the search and the loggers are left out: what a recipe is compared with, what else it
        might have been, and who writes down how it goes, does not change what it does.
        """
        decisive = {key: value for key, value in self.content.items() if key not in ("ablations", "tune")}
        decisive["training"] = {key: value for key, value in decisive["training"].items() if key != "loggers"}
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def origin_of(self, path: str) -> str:
        """Where a value comes from: ``file:line``, ``command line`` or ``default``.

        Args:
            path: Keys joined by dots, such as ``training.optimizer.lr``.
        """
        # A key may have dots of its own, as those of `tune.space`.
        key = next((key for key in self._origins.places if ".".join(map(str, key)) == path), None)
        if key is None:
            return "default"
        place = self._origins.places[key]
        return _COMMAND_LINE if place is None else f"{self._origins.file}:{place[0]}"

    def to_yaml(self) -> str:
        """The resolved recipe as YAML, which :func:`load_recipe` reads back to an equal one."""
        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.width = 4096
        stream = io.StringIO()
        yaml.dump(self.content, stream)
        return stream.getvalue()

    def with_overrides(
        self, overrides: Sequence[str], *, backend: str | None = None, registry: Registry | None = None
    ) -> Recipe:
        """The same recipe with some values replaced, as :func:`load_recipe` does.

        Raises:
            RecipeError: The result is not valid.
        """
        origins = _Origins(self._origins.file, dict(self._origins.places))
        return _finish(self.content, origins, [], overrides, backend, registry)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.digest)


def load_recipe(
    source: str | Path | Recipe,
    overrides: Sequence[str] = (),
    *,
    backend: str | None = None,
    registry: Registry | None = None,
) -> Recipe:
    """Read a recipe.

    Args:
        source: A file, the name of a shipped recipe, or a recipe that was read before.
        overrides: ``key.sub=value`` with the value in YAML, applied in order.
        backend: Replaces the recipe's backend.
        registry: Where given, names and the components' parameters are checked as well, their
            defaults are filled in, and so their classes (and torch) are imported.

    Raises:
        RecipeError: It cannot be read, or something in it is wrong; holds every problem.

    Example:
        >>> recipe = load_recipe("smile_mosei_sound", ["training.epochs=3"], backend="torch")
    """
    if isinstance(source, Recipe):
        return source.with_overrides(overrides, backend=backend, registry=registry)
    path, file = _find(source)
    content, origins, problems = _parse(_text(path, file), file)
    return _finish(content, origins, problems, overrides, backend, registry)


def check_names(recipe: Recipe, registry: Registry) -> Recipe:
    """Check every name, slot and component parameter of a recipe; imports the components' classes.

    Returns:
        The recipe with the components' own defaults filled in.

    Raises:
        RecipeError: Something is unknown, missing or does not fit; holds every problem.
    """
    return _finish(recipe.content, recipe._origins, [], (), None, registry)


def _finish(
    content: dict[str, Any],
    origins: _Origins,
    problems: list[tuple[tuple[int, int], str]],
    overrides: Sequence[str],
    backend: str | None,
    registry: Registry | None,
) -> Recipe:
    """Apply overrides, validate, and either return the recipe or raise every problem, in order of lines."""
    _expand(content, origins)
    for override in overrides:
        problems.extend(((_LARGEST, 0), f"{_COMMAND_LINE}: {p}") for p in _override(content, origins, override))
        _expand(content, origins)
    if backend is not None:
        _put(content, origins, ("backend",), backend)
    schema = content.get("schema")
    if isinstance(schema, int) and schema != SCHEMA:
        # Everything else would be judged by the wrong rules.
        problem = (
            f"this recipe has schema {schema}, and this neurozoo reads schema {SCHEMA}; "
            "install the neurozoo that knows it, or write the recipe for this one"
        )
        raise RecipeError([origins.line(("schema",), problem)[1]])
    recipe, found = validated(Recipe, content)
    if registry is not None and recipe is not None and recipe.backend == FASTEST:
        # Resolved here and once: what is trained, recorded and compared has a name that stays.
        _put(content, origins, ("backend",), registry.fastest_backend(recipe.training.device))
        recipe, found = validated(Recipe, content)
    if registry is not None:
        found += list(tree_problems(content, registry))
    space = content["tune"].get("space") if isinstance(content.get("tune"), dict) else None
    if isinstance(space, dict):
        found += space_problems(space, lambda changes: _problems_with(content, changes, registry))
    problems.extend(origins.line(path, problem) for path, problem in found)
    if problems or recipe is None:
        raise RecipeError([problem for _, problem in sorted(problems, key=lambda each: each[0])])
    if registry is not None:
        recipe = Recipe.model_validate_json(json.dumps(with_defaults(recipe.content, registry)))
    recipe._origins = origins
    return recipe


def _problems_with(
    content: Mapping[str, Any], changes: Mapping[str, Any], registry: Registry | None
) -> list[tuple[Key, str]]:
    """What would be wrong with a recipe's content if values of it were changed, by their paths."""
    changed = copy.deepcopy({key: value for key, value in content.items() if key not in ("ablations", "tune")})
    nowhere = _Origins("")
    found: list[tuple[Key, str]] = []
    for dotted, value in changes.items():
        keys = tuple(dotted.split("."))
        problem = _set(changed, nowhere, keys, value) if all(keys) else f"{dotted!r} is no path such as training.epochs"
        if problem:
            found.append((keys, problem))
        _expand(changed, nowhere)
    found += validated(Recipe, changed)[1]
    return found if registry is None else [*found, *tree_problems(changed, registry)]


# Reading


def _find(source: str | Path) -> tuple[Path, str]:
    """The file of a recipe, and what to call it in messages."""
    path = Path(source)
    if not path.is_file() and (shipped := shipped_path(str(source))) is not None:
        path = shipped
    try:
        return path, str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return path, str(path)


def _text(path: Path, file: str) -> str:
    if path.is_dir():
        raise RecipeError([f"{file}: this is a folder; give a recipe's file, or the name of a shipped recipe"])
    if not path.exists():
        known = shipped_recipes()
        guess = path.stem if path.stem in known else nearest(path.stem, known)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise RecipeError([f"{file}: there is no such file; give a file or a shipped recipe: {', '.join(known)}{hint}"])
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecipeError([f"{file}: it cannot be read ({error.strerror}); check its permissions"]) from error
    if len(raw) > _LARGEST:
        raise RecipeError([f"{file}: it has {len(raw):,} bytes, and a recipe at most {_LARGEST:,}; is it a recipe?"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = raw.count(b"\n", 0, error.start) + 1, error.start - raw.rfind(b"\n", 0, error.start)
        problem = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise RecipeError([f"{file}:{line}:{column}: {problem}"]) from error


def _parse(text: str, file: str) -> tuple[dict[str, Any], _Origins, list[tuple[tuple[int, int], str]]]:
    node = _compose(text, f"{file}:")
    if node is None:
        raise RecipeError([f"{file}:1:1: the file is empty; a recipe needs at least schema, data and model"])
    if not isinstance(node, MappingNode):
        raise RecipeError([f"{file}:1:1: the file holds {_form(node)}; a recipe is a section of keys (key: value)"])
    reader = _Reader()
    content = reader.value(node, ())
    return (
        content,
        _Origins(file, dict(reader.places)),
        [(at, f"{file}:{at[0]}:{at[1]}: {p}") for at, p in reader.problems],
    )


def _compose(text: str, where: str) -> Node | None:
    """The node tree of a YAML text; nothing is constructed."""
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}:" if mark else ""
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        remedies = {"'\\t'": "indent with spaces, not tabs", "alias": "put text that begins with * in quotes"}
        fits = (remedy for sign, remedy in remedies.items() if sign in what)
        remedy = next(fits, "check brackets, quotes and indentation")
        raise RecipeError([f"{where}{place} this is not YAML: {what}; {remedy}"]) from error
    except YAMLError as error:
        raise RecipeError([f"{where} this is not YAML: {str(error).splitlines()[0]}"]) from error
    except RecursionError as error:
        raise RecipeError([f"{where} it is nested too deeply; a recipe needs a few levels"]) from error
    return node


class _Reader:
    """Turns YAML nodes into plain values, noting places and what a recipe must not hold."""

    def __init__(self) -> None:
        self.places: dict[Key, tuple[int, int]] = {}
        self.problems: list[tuple[tuple[int, int], str]] = []
        self._constructor = YAML(typ="safe", pure=True).constructor
        self._seen: set[int] = set()

    def value(self, node: Node, path: Key) -> Any:
        if id(node) in self._seen:
            # YAML hands over the very node that has the anchor, so this is where that stands.
            problem = f"aliases (*{node.anchor}) are not followed in a recipe; write this value out wherever it is used"
            return self._refuse(node, problem)
        self._seen.add(id(node))
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            for number, item in enumerate(node.value):
                self.places[*path, number] = _place(item)
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            try:
                return self._constructor.construct_object(node)
            except (ValueError, YAMLError):
                return self._refuse(node, f"{node.value[:40]!r} cannot be read as a value; put text in quotes")
        if node.tag == "tag:yaml.org,2002:timestamp":
            return self._refuse(node, f"{node.value!r} is a date; put text in quotes")
        return self._refuse(node, f"the tag {node.tag!r} is not for recipes, and nothing was run; write a plain value")

    def _mapping(self, node: MappingNode, path: Key) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                self._refuse(key_node, f"a key must be a word, and this is {_form(key_node)}; put it in quotes")
            elif key in content:
                first = self.places[*path, key][0]
                self._refuse(key_node, f"key {key!r} is given twice, first in line {first}; remove one of the two")
            else:
                self.places[*path, key] = _place(key_node)
                content[key] = self.value(value_node, (*path, key))
        return content

    def _refuse(self, node: Node, problem: str) -> None:
        if (_place(node), problem) not in self.problems:
            self.problems.append((_place(node), problem))


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _form(node: Node) -> str:
    if isinstance(node, SequenceNode):
        return "a list"
    return "a section of keys" if isinstance(node, MappingNode) else f"the value {node.value[:40]!r}"


# Overrides


def override(path: str, value: Any) -> str:
    """The override ``key.sub=value`` that sets a value, as short as it reads back.

    Args:
        path: Keys joined by dots.
        value: What a recipe may hold: text, numbers, true, false, null, lists and mappings of them.
    """
    if isinstance(value, str):
        try:
            node = _compose(value, "")
        except RecipeError:
            node = None
        if isinstance(node, ScalarNode) and node.style is None and _Reader().value(node, ()) == value:
            return f"{path}={value}"
    return f"{path}={json.dumps(value, ensure_ascii=False)}"


def _override(content: dict[str, Any], origins: _Origins, override: str) -> Iterator[str]:
    """Apply ``key.sub=value``; yields what is wrong with it."""
    dotted, equals, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not equals or not all(keys):
        yield f"{override!r} is not key=value; write for example training.epochs=3"
        return
    try:
        node = _compose(text, f"{dotted}=")
    except RecipeError as error:
        yield str(error)
        return
    reader = _Reader()
    value = None if node is None else reader.value(node, ())
    if reader.problems:
        yield from (f"{dotted}: {problem}" for _, problem in reader.problems)
        return
    problem = _set(content, origins, keys, value)
    if problem:
        yield f"{dotted}: {problem}"


def _set(content: dict[str, Any], origins: _Origins, keys: tuple[str, ...], value: Any) -> str:
    """Set a value by its path; returns why that cannot be, or an empty text."""
    around: Any = content
    for depth, key in enumerate(keys[:-1], 1):
        around = around.get(key)
        if around is not None and not isinstance(around, dict):
            return f"{'.'.join(keys[:depth])} is no section, it is {shown(around)}; set it as a whole"
        if around is None:
            break
    _put(content, origins, keys, value)
    return ""


def _put(content: dict[str, Any], origins: _Origins, keys: tuple[str, ...], value: Any) -> None:
    """Set a value given on the command line, making the sections around it."""
    section = content
    for depth, key in enumerate(keys[:-1], 1):
        if section.get(key) is None:
            section[key] = {}
            origins.places[keys[:depth]] = None
        section = section[key]
    section[keys[-1]] = value
    for path in [path for path in origins.places if path[: len(keys)] == keys]:
        del origins.places[path]
    origins.places[keys] = None
    for below in _paths(value, keys):
        origins.places[below] = None


def _paths(value: object, path: Key) -> Iterator[Key]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        yield from _paths(below, (*path, key))


def _expand(content: dict[str, Any], origins: _Origins) -> None:
    """Write a part given as a bare name in its long form, ``{name: NAME}``."""
    data, model, training = (content.get(section) for section in ("data", "model", "training"))
    holders: list[tuple[Any, Key, Sequence[str | int]]] = []
    if isinstance(data, dict) and "instead" in data:
        holders.append((data, ("data",), ("instead",)))
    if isinstance(model, dict) and isinstance(model.get("parts"), dict):
        holders.append((model["parts"], ("model", "parts"), tuple(model["parts"])))
    if isinstance(training, dict) and isinstance(training.get("loggers"), list):
        holders.append((training["loggers"], ("training", "loggers"), range(len(training["loggers"]))))
    for holder, path, keys in holders:
        for key in keys:
            if isinstance(holder[key], str):
                holder[key] = {"name": holder[key]}
                origins.places[*path, key, "name"] = origins.places.get((*path, key))
