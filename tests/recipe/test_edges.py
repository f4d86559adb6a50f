"""Recipes of strangers and by mistake: whatever is in them is refused where it is read, with its line, or taken."""

from __future__ import annotations

import codecs
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurozoo.errors import RecipeError
from neurozoo.recipe.params import Param
from neurozoo.recipe.recipe import load_recipe
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.registry.registry import default_registry

RECIPE = """\
schema: 2
data: {name: some-data, inputs: [audio, vision]}
task: multilabel
model: {name: spiking-convnet, parts: {neuron: lif}}
training:
  epochs: 3
"""


def problems(folder: Path, text: str | bytes, *overrides: str, checked: bool = False) -> str:
    path = folder / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides, registry=default_registry() if checked else None)
    assert caught.value.exit_status == 2
    return str(caught.value).replace(f"{folder}{os.sep}", "")


SCALARS = {
    "!!bool maybe": "'maybe' cannot be read as a value; put text in quotes",
    '!!int ""': "'' cannot be read as a value",
    '!!float ""': "'' cannot be read as a value",
    "!!float x": "'x' cannot be read as a value",
    "0x" + "f" * 5000: "... is too large; a whole number has at most 64 bits",
    "1" + "0" * 400: "... is too large; a whole number has at most 64 bits",
    "9" * 5000: "cannot be read as a value",
    "-9223372036854775809": "is too large",
    ".inf": ".inf is not a finite number; give one",
    "1e999": "1e999 is not a finite number",
    ".nan": ".nan is not a finite number",
    r'"\ud800"': "holds a character that is not text",
    r'"a\0b"': "holds a character that is not text",
    "!!python/object:os.system x": "nothing was run",
    "2001-01-01": "is a date",
    "[" * 40 + "]" * 40: "it is nested deeper than 24 levels",
}


@pytest.mark.parametrize("scalar", SCALARS)
def test_a_scalar_that_cannot_be_a_value_is_refused_where_it_stands(tmp_path: Path, scalar: str) -> None:
    said = problems(tmp_path, RECIPE.replace("epochs: 3", f"epochs: {scalar}"))
    assert "r.yaml:6:" in said
    assert SCALARS[scalar] in said
    assert len(said) < 1000


@pytest.mark.parametrize(
    ("schema", "found"), [("true", "true"), ("1.0", "the number 1.0"), ("2.0", "the number 2.0"), ("two", "the text")]
)
def test_a_schema_is_a_whole_number(tmp_path: Path, schema: str, found: str) -> None:
    said = problems(tmp_path, RECIPE.replace("schema: 2", f"schema: {schema}"))
    assert said.startswith(f"r.yaml:1:1: schema: found {found}")
    assert said.endswith("; give one of: 1, 2")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.optimizer.lr=1e300", "1e+300 is too large; give at most 1000000000"),
        ("training.optimizer.weight_decay=1e300", "is too large"),
        ("training.gradient_clip=1e300", "is too large"),
        ("training.rate_penalty.weight=1e300", "is too large"),
        ("training.epochs=1" + "0" * 400, "is too large"),
        ("training.epochs=99999999999", "is too large; give at most 2147483647"),
        ("training.batch_size=99999999999", "is too large"),
        ("training.accumulate=99999999999", "is too large"),
        ("training.scheduler={name: plateau, patience: 99999999999}", "is too large"),
        ("training.scheduler={name: step, every: 99999999999}", "is too large"),
        ("training.scheduler={name: cosine, warmup: 99999999999}", "is too large"),
        ("training.initialisation={name: fluctuation-driven, batches: 99999999999}", "is too large"),
        ("evaluation.batch_size=99999999999", "is too large"),
        ("training.epochs=true", "found true; give a whole number"),
        ("training.optimizer.lr=true", "found true; give a number"),
        ("training.epochs=3.0", "give a whole number"),
        ("training.optimizer.lr=0", "0 is too small; give more than 0"),
        ("model.params.channels=[8, 99999999999]", "99999999999 is too large"),
        ("model.parts.neuron.params.tau=1e300", "1e+300 is too large"),
        ("model.parts.neuron.params.tau=true", "found true; give a number"),
        ("tune={space: {training.optimizer.lr: {low: -1e300, high: 1e300}}}", "is too large"),
    ],
)
def test_numbers_that_nothing_can_use_are_refused_by_name(tmp_path: Path, override: str, words: str) -> None:
    said = problems(tmp_path, RECIPE, override, checked=True)
    assert "command line: " in said
    assert words in said


@pytest.mark.parametrize("value", [True, 1.0])
def test_a_literal_of_a_parameter_is_not_equal_to_another_type(value: object) -> None:
    from typing import Literal

    assert "give the number 1" in Param("delay", Literal[0, 1], 0).problem(value)
    assert Param("delay", Literal[0, 1], 0).problem(1) == ""


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")],
)
def test_a_recipe_may_have_a_byte_order_mark_and_lines_of_windows(tmp_path: Path, mark: bytes, encoding: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(mark + RECIPE.replace("\n", "\r\n").encode(encoding))
    assert load_recipe(path).training.epochs == 3


def test_text_that_is_no_utf_8_has_its_line(tmp_path: Path) -> None:
    said = problems(tmp_path, RECIPE.encode() + b"description: \xff\n")
    assert said == "r.yaml:7:14: byte 0xff is not UTF-8; save the file as UTF-8"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.yaml")
    with pytest.raises(RecipeError, match="is a pipe; give a regular file"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("name", ["a" * 5000, "nul\0", "\ud800"])
def test_what_is_no_path_is_no_recipe(name: str) -> None:
    with pytest.raises(RecipeError, match="there is no such file"):
        load_recipe(name)


LARGE = {
    "tags": "\n".join(f"k{n}: !a b" for n in range(5_000)),
    "unknown keys": "\n".join(f"key{n}: 1" for n in range(5_000)),
    "unknown parameters": "  params: {" + ", ".join(f"parameter{n}: 1" for n in range(5_000)) + "}",
    "laughs": "a: &a [x, x]\n" + "\n".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *a]" for n in range(40)),
    "duplicate keys": "\n".join("key: 1" for _ in range(5_000)),
    "deep": "key: " + "[" * 5_000,
    "deep blocks": "\n".join(" " * n + "a:" for n in range(900)),
    "an endless key": "? " + "k" * 500_000 + "\n: 1",
}


@pytest.mark.parametrize("kind", LARGE)
def test_what_is_large_is_refused_soon_and_briefly(tmp_path: Path, kind: str) -> None:
    text = RECIPE.replace("parts: {neuron: lif}}", "parts: {neuron: lif}}") + LARGE[kind] + "\n"
    if kind == "unknown parameters":
        text = RECIPE.replace(
            "model: {name: spiking-convnet, parts: {neuron: lif}}", "model:\n  name: spiking-convnet\n"
        )
        text = text.replace("  name: spiking-convnet\n", f"  name: spiking-convnet\n{LARGE[kind]}\n")
    start = time.process_time()
    said = problems(tmp_path, text, checked=True)
    assert time.process_time() - start < 5
    assert len(said) < 40_000


# Fuzz: NEUROZOO_FUZZ is the number of recipes; a few in `make test`.

NUMBERS = ["-1", "0", "1.5", "1e300", "-1e300", "1e-320", "9" * 30, "1" + "0" * 400, "0x1F", "0o17", "1_000", ".inf"]
YAML = [
    "",
    "~",
    "true",
    "[]",
    "{}",
    "[[[]]]",
    "!!int x",
    "!!bool x",
    "&a b",
    "*a",
    "'",
    '"',
    "|",
    "? x",
    "- x",
    "\t",
    "%TAG",
]
OTHERS = ["text", "a" * 2000, "{a: {b: {c: d}}}", "{name: lif}", "[1, true, x]", "12:30", "2001-01-01", "é", "\u202e"]
NASTY = st.sampled_from([*NUMBERS, *YAML, *OTHERS])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A shipped recipe with a few lines, values or bytes changed."""
    path = shipped_path(draw(st.sampled_from(sorted(shipped_recipes()))))
    assert path is not None
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        key, colon, _ = lines[place].partition(":")
        how = draw(st.sampled_from(["value", "key", "drop", "twice", "indent", "insert"]))
        if how == "value":
            lines[place] = f"{key}{colon} {draw(NASTY)}"
        elif how == "key":
            lines[place] = lines[place].replace(key.strip() or "x", draw(NASTY) or "x", 1)
        elif how == "drop" and len(lines) > 1:
            del lines[place]
        elif how == "twice":
            lines.insert(place, lines[place])
        elif how == "indent":
            lines[place] = " " * draw(st.integers(0, 8)) + lines[place].lstrip()
        else:
            at = draw(st.integers(0, len(lines[place])))
            lines[place] = lines[place][:at] + draw(st.text(max_size=3)) + lines[place][at:]
    raw = "\n".join(lines).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at:]
    return raw


@settings(
    max_examples=int(os.environ.get("NEUROZOO_FUZZ", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(raw=mutated())
def test_a_mutated_recipe_is_refused_by_name_or_taken_whole(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(raw)
    try:
        recipe = load_recipe(path, registry=default_registry())
    except RecipeError as error:
        wrong = [each for each in error.problems if not each.startswith((str(path), "there are more problems"))]
    else:
        wrong = []
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        assert load_recipe(path, registry=default_registry()).digest == recipe.digest
    assert wrong == []


def test_escape_sequences_of_a_recipe_do_not_reach_the_terminal(tmp_path: Path) -> None:
    said = problems(tmp_path, RECIPE + 'evaluation: {"\\e[31mred": {"\\e]0;title\\a": 1}, batch_size: "\\e[2J"}\n')
    assert "\x1b" not in said
    assert r"\x1b[31mred" in said
