"""Convert YAML text to plain values with the place of each, and back; the only module that imports YAML.

Tags and aliases are refused, so a recipe from an untrusted source cannot run code or expand.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from neurozoo.core.earlier_names import current_name
from neurozoo.errors import RecipeError, UserError, suggestion
from neurozoo.files.opening import read_bytes
from neurozoo.files.text import decode_text, printable
from neurozoo.recipe.messages import MOST_PROBLEMS
from neurozoo.recipe.params import Key
from neurozoo.recipe.shipped import shipped_path, shipped_recipes

__all__ = [
    "COMMAND_LINE",
    "LARGEST",
    "Origins",
    "Reader",
    "as_yaml",
    "compose",
    "find_file",
    "is_plain",
    "parse",
    "read_text",
]

LARGEST = 1_000_000
"""Largest size of a recipe, in bytes; anything larger is another file given by mistake."""

DEEPEST = 24
"""Largest number of levels of sections and lists; recipes have about six."""
LONGEST_KEY = 200
"""Largest number of characters of a key."""

COMMAND_LINE = "command line"
"""What overrides are called in messages."""

_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}


@dataclass
class Origins:
    """The place of each value: (line, column) in the file, or None for the command line.

    Attributes:
        file: Its name in messages.
        places: By path.
        in_file: Whether there is a file, and messages name lines of it.
    """

    file: str
    places: dict[Key, tuple[int, int] | None] = field(default_factory=dict)
    in_file: bool = True

    def move(self, old: Key, new: Key) -> None:
        """Rename the path of a value and of everything below it; the places are kept."""
        for path, place in list(self.places.items()):
            if path[: len(old)] == old:
                self.places[new + path[len(old) :]] = place

    def line(self, path: Key, problem: str) -> tuple[tuple[int, int], str]:
        """Return a sort key and the message of a problem, with the place of the value or of a section around it.

        The command line comes last.
        """
        ends = (path[:n] for n in range(len(path), 0, -1))
        place = next((self.places[end] for end in ends if end in self.places), (1, 1))
        what = printable(f"{'.'.join(map(str, path))}: {problem}" if path else problem)
        if place is None:
            return (LARGEST, 0), f"{COMMAND_LINE}: {what}"
        if not self.in_file:
            return place, f"{self.file}: {what}"
        return place, f"{self.file}:{place[0]}:{place[1]}: {what}"


def find_file(source: str | Path) -> tuple[Path, str]:
    """Return the file of a recipe, and its name in messages."""
    path = Path(source)
    if not os.path.isfile(path):
        path = shipped_path(str(source)) or _file_of_now(path)
    try:
        return path, printable(str(path.resolve().relative_to(Path.cwd())))
    except (ValueError, OSError, RuntimeError):  # it is elsewhere, no path at all, or the folder was deleted
        return path, printable(str(path))


def _file_of_now(path: Path) -> Path:
    """Return the file that a missing one is called now, such as a recipe of a clone; the same path if there is none."""
    now = path.parent / f"{current_name('recipe', path.stem, quiet=True)}{path.suffix}"
    if not os.path.isfile(now):
        return path
    current_name("recipe", path.stem)  # notes it
    return now


def read_text(path: Path, file: str) -> str:
    """Read the text of a recipe's file.

    Raises:
        RecipeError: There is none, it is too large, not a regular file or not UTF-8.
    """
    if os.path.isdir(path):
        raise RecipeError(f"{file}: this is a folder; give a recipe's file, or the name of a shipped recipe")
    if not os.path.lexists(path):
        known = shipped_recipes()
        there = f"{', '.join(known)}{suggestion(path.stem, known)}"
        raise RecipeError(f"{file}: there is no such file; give a file or a shipped recipe: {there}")
    raw = b""
    try:
        raw = read_bytes(path, limit=LARGEST)
        return decode_text(raw, file)
    except UserError as error:
        problem, cause = str(error).replace(f"{path} ", f"{file}: it ", 1), error.__cause__
        if isinstance(cause, UnicodeDecodeError):
            start = cause.start
            line, column = raw.count(b"\n", 0, start) + 1, start - raw.rfind(b"\n", 0, start)
            problem = f"{file}:{line}:{column}:{problem.removeprefix(f'{file}:{line}:')}"
        raise RecipeError(problem) from error


def parse(text: str, file: str) -> tuple[dict[str, Any], Origins, list[tuple[tuple[int, int], str]]]:
    """Parse a recipe's text: its values, the place of each, and what a recipe must not contain.

    Raises:
        RecipeError: It is not YAML, or no section of keys.
    """
    node = compose(text, f"{file}:")
    if node is None:
        raise RecipeError(f"{file}:1:1: the file is empty; a recipe needs at least schema, data, task and model")
    if not isinstance(node, MappingNode):
        raise RecipeError(f"{file}:1:1: the file holds {_form(node)}; a recipe is a section of keys (key: value)")
    reader = Reader()
    content = reader.value(node, ())
    problems = [(at, f"{file}:{at[0]}:{at[1]}: {p}") for at, p in reader.problems]
    return content, Origins(file, dict(reader.places)), problems


def compose(text: str, where: str) -> Node | None:
    """Parse a YAML text into its node tree; nothing is constructed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of anchors that are used twice; aliases are refused
            node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}:" if mark else ""
        what = printable(" ".join(str(part) for part in (error.context, error.problem) if part))[:300]
        remedies = {"'\\t'": "indent with spaces, not tabs", "alias": "put text that begins with * in quotes"}
        fits = (remedy for sign, remedy in remedies.items() if sign in what)
        remedy = next(fits, "check brackets, quotes and indentation")
        raise RecipeError(f"{where}{place} this is not YAML: {what}; {remedy}") from error
    except YAMLError as error:
        raise RecipeError(f"{where} this is not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise RecipeError(f"{where} it is nested too deeply; a recipe needs a few levels") from error
    return node


class Reader:
    """Converts YAML nodes to plain values; collects their places, and what a recipe must not contain."""

    def __init__(self) -> None:
        self.places: dict[Key, tuple[int, int]] = {}
        self.problems: dict[tuple[tuple[int, int], str], None] = {}
        self._constructor = YAML(typ="safe", pure=True).constructor
        self._seen: set[int] = set()

    def value(self, node: Node, path: Key) -> Any:
        if id(node) in self._seen:
            # An alias is the node of its anchor, so this is the anchor's place.
            name = str(node.anchor)[:60]
            problem = f"aliases (*{name}) are not followed in a recipe; write this value out wherever it is used"
            return self._refuse(node, problem)
        self._seen.add(id(node))
        if len(path) > DEEPEST:
            return self._refuse(node, f"it is nested deeper than {DEEPEST} levels; a recipe needs a few")
        if isinstance(node, MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            for number, item in enumerate(node.value):
                self.places[*path, number] = _place(item)
            return [self.value(item, (*path, number)) for number, item in enumerate(node.value)]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        if node.tag == "tag:yaml.org,2002:timestamp":
            return self._refuse(node, f"{node.value!r} is a date; put text in quotes")
        return self._refuse(
            node, f"the tag {str(node.tag)[:60]!r} is not for recipes, and nothing was run; write a plain value"
        )

    def _scalar(self, node: ScalarNode) -> Any:
        """A value that JSON can hold and that can be written again: whole numbers of 64 bits, finite numbers, text."""
        try:
            value = self._constructor.construct_object(node)
        except Exception:  # of any class: the constructor takes a scalar with a tag to have the tag's form
            return self._refuse(node, f"{node.value[:40]!r} cannot be read as a value; put text in quotes")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return self._refuse(node, f"{node.value[:20]}... is too large; a whole number has at most 64 bits")
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse(node, f"{node.value[:40]} is not a finite number; give one")
        if isinstance(value, str) and not _is_text(value):
            return self._refuse(node, f"{value[:40]!r} holds a character that is not text; take it out")
        return value

    def _mapping(self, node: MappingNode, path: Key) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                self._refuse(key_node, f"a key must be a word, and this is {_form(key_node)}; put it in quotes")
            elif len(key) > LONGEST_KEY:
                self._refuse(key_node, f"key {key[:40]!r}... is too long; a key has at most {LONGEST_KEY} characters")
            elif not _is_text(key):
                self._refuse(key_node, f"{key[:40]!r} holds a character that is not text; take it out")
            elif key in content:
                first = self.places[*path, key][0]
                self._refuse(key_node, f"key {key!r} is given twice, first in line {first}; remove one of the two")
            else:
                self.places[*path, key] = _place(key_node)
                content[key] = self.value(value_node, (*path, key))
        return content

    def _refuse(self, node: Node, problem: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems[_place(node), problem] = None


def _is_text(value: str) -> bool:
    """Whether text has no NUL, which no path holds, and no half of a character pair, which no file holds."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _form(node: Node) -> str:
    if isinstance(node, SequenceNode):
        return "a list"
    return "a section of keys" if isinstance(node, MappingNode) else f"the value {node.value[:40]!r}"


def as_yaml(content: Mapping[str, Any]) -> str:
    """Write plain values as YAML, in their order."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 4096
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def is_plain(text: str) -> bool:
    """Whether YAML reads a text without quotes as the same text."""
    try:
        node = compose(text, "")
    except RecipeError:
        return False
    return isinstance(node, ScalarNode) and node.style is None and bool(Reader().value(node, ()) == text)
