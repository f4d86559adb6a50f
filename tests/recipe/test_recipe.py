"""Recipes: what is read, what is refused, and in which words."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from neurozoo.cli import main
from neurozoo.errors import RecipeError
from neurozoo.recipe.overrides import apply_override, override
from neurozoo.recipe.params import component_params, component_problems
from neurozoo.recipe.recipe import Recipe, check_names, load_recipe
from neurozoo.recipe.schema import DataSection
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.recipe.yaml_text import Origins
from neurozoo.registry.hookspecs import Component
from neurozoo.registry.registry import Registry, default_registry

MINIMAL = """\
schema: 2
task: multilabel
data: {name: some-data,
  inputs: [audio, vision]}
model:
  name: smile
  parts:
    activation: lif
    threshold: disagreement
    scaling: {name: rate-gain, params: {beta: 3.0}}
    fusion: interactive
    head: label-decoder
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str | bytes, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def problems(
    folder: Path, text: str | bytes, overrides: Sequence[str] = (), registry: Registry | None = None
) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(folder, text), overrides, registry=registry)
    assert caught.value.exit_status == 2
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


# Shipped recipes

SHIPPED = sorted(shipped_recipes())


def test_recipes_are_shipped() -> None:
    assert len(SHIPPED) >= 6
    assert {
        "smile_mosei",
        "smile_nemu",
        "smile_mosei_corrected",
        "smile_nemu_corrected",
        "smile_emotions",
        "smile_pom",
    } <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_valid_and_described(name: str) -> None:
    recipe = load_recipe(name, registry=default_registry())
    assert recipe.name == name
    assert recipe.description == shipped_recipes()[name] != ""
    assert load_recipe(f"{name}.yaml") == load_recipe(name)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_opens_with_command_source_score_and_duration(name: str) -> None:
    import neurozoo.recipe.shipped

    path = neurozoo.recipe.shipped.shipped_path(name)
    assert path is not None
    head = path.read_text(encoding="utf-8").partition("schema:")[0]
    for words in (f"# neurozoo train {name}", "# Source:", "# Expected:", "# Duration:"):
        assert words in head


def test_published_and_corrected_differ_in_the_choices_alone() -> None:
    published, corrected = load_recipe("smile_mosei"), load_recipe("smile_mosei_corrected")
    overrides = [
        "data.standardise=true",
        "model.params.padding=masked",
        "model.parts.threshold=disagreement",
        "model.parts.scaling=rate-gain",
        "model.parts.head.params.dropout_at=features",
        "training.initialisation={name: fluctuation-driven, firing_rate: 0.2, batches: 4}",
        "training.rate_penalty={weight: 1.0, low: 0.02, high: 0.5}",
    ]
    taken = published.with_overrides([*overrides, f"description={corrected.description!r}"])
    assert taken.model == corrected.model
    assert taken.data == corrected.data
    assert taken.training.initialisation == corrected.training.initialisation


def test_a_file_wins_over_a_shipped_name_and_a_folder_does_not(folder: Path) -> None:
    (folder / "smile_pom").mkdir()
    assert load_recipe("smile_pom").data.name == "pom"
    write(folder, MINIMAL, "smile_pom.yaml")
    assert load_recipe("smile_pom.yaml").data.name == "some-data"


# Content


def test_defaults_and_bare_names(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL))
    assert (recipe.seed, recipe.backend, recipe.training.epochs) == (1, "torch", 50)
    assert recipe.model.parts["threshold"].name == "disagreement"
    assert recipe.data.inputs == ("audio", "vision")
    assert (recipe.task.name, recipe.task.per_step, recipe.task.params) == ("multilabel", False, {})
    assert recipe.training.gradient_clip is None


def test_a_whole_number_may_stand_for_a_number(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL), ["training.optimizer.lr=1", "training.gradient_clip=2"])
    assert isinstance(recipe.training.optimizer.lr, float)
    assert load_recipe(write(folder, MINIMAL), ["training.optimizer.lr=1e-3"]).training.optimizer.lr == 1e-3


def test_origins(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL), ["training.epochs=3"], backend="norse")
    assert recipe.origin_of("data.name") == "r.yaml:3"
    assert recipe.origin_of("model.parts.threshold.name") == "r.yaml:9"
    assert recipe.origin_of("model.parts.scaling.params.beta") == "r.yaml:10"
    assert recipe.origin_of("training.epochs") == recipe.origin_of("backend") == "command line"
    assert recipe.origin_of("training.batch_size") == "default"
    replaced = recipe.with_overrides(["model.parts.scaling=none"])
    assert replaced.origin_of("model.parts.scaling.name") == "command line"
    assert replaced.origin_of("model.parts.scaling.params.beta") == "default"
    assert recipe.origin_of("model.parts.scaling.name") == "r.yaml:10"


def test_a_recipe_is_frozen(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 2


def test_yaml_of_a_recipe_is_whole_and_reads_back(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL), ["training.optimizer.lr=1e-05"])
    text = recipe.to_yaml()
    assert "threads: null" in text
    again = load_recipe(write(folder, text, "again.yaml"))
    assert again == recipe
    assert again.digest == recipe.digest
    assert hash(again) == hash(recipe)
    assert again != recipe.with_overrides(["seed=2"])


WHOLE = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
VALUES = st.recursive(
    SCALARS | TEXT, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3), max_leaves=6
)


@given(description=TEXT, params=st.dictionaries(TEXT, VALUES, max_size=3), lr=st.floats(1e-12, 1e3))
def test_any_content_survives_yaml(
    tmp_path_factory: pytest.TempPathFactory, description: str, params: dict[str, Any], lr: float
) -> None:
    import json

    content = {
        "schema": 2,
        "description": description,
        "data": {"name": "d", "inputs": ["a"]},
        "task": {"name": "t", "params": params},
        "model": {"name": "m", "params": params},
        "training": {"optimizer": {"lr": lr}},
    }
    recipe = Recipe.model_validate_json(json.dumps(content))
    again = load_recipe(write(tmp_path_factory.mktemp("any"), recipe.to_yaml()))
    assert again.content == recipe.content
    assert again.digest == recipe.digest


# Files that cannot be read


def test_a_missing_file_names_the_nearest_recipe(folder: Path) -> None:
    with pytest.raises(RecipeError, match=r"^smile_mosie: there is no such file; .*did you mean 'smile_mosei'\?$"):
        load_recipe("smile_mosie")
    with pytest.raises(RecipeError, match="did you mean 'smile_pom'"):
        load_recipe("recipes/smile_pom.yaml")


def test_a_folder_is_refused(folder: Path) -> None:
    (folder / "sub").mkdir()
    with pytest.raises(RecipeError, match="sub: this is a folder; give a recipe's file"):
        load_recipe("sub")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "r.yaml:1:1: the file is empty; a recipe needs"),
        ("# only a comment\n", "r.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "r.yaml:1:1: the file holds a list; a recipe is a section of keys"),
        ("just words\n", "the file holds the value 'just words'"),
        ("data:\n\tname: x\n", "r.yaml:2:1: this is not YAML: .*; indent with spaces, not tabs"),
        ("data: [a, b\n", "r.yaml:.*this is not YAML: .*check brackets, quotes and indentation"),
        ("data: 'open\n", "this is not YAML"),
        ("schema: 1\n---\nschema: 1\n", "r.yaml:2:1: this is not YAML: .*another document"),
        (b"schema: 1\ndata: \xff\n", r"r.yaml:2:7: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: \x00\n", "this is not YAML: unacceptable character"),
        ("[" * 5000, "nested too deeply"),
        ("#" * 1_000_001, "r.yaml: it has more than 1,000,000 bytes"),
        ("a: *missing\n", "r.yaml:1:4: this is not YAML: found undefined alias 'missing'"),
    ],
)
def test_text_that_is_no_recipe(folder: Path, text: str | bytes, words: str) -> None:
    import re

    (problem,) = problems(folder, text)
    assert re.search(words, problem)
    assert problem.startswith("r.yaml:")


def test_a_file_that_grows_is_refused_at_once(folder: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    found = problems(folder, laughs)
    told = "aliases (*a0) are not followed in a recipe; write this value out wherever it is used"
    assert found.count(f"r.yaml:1:5: {told}") == 1


def test_tags_run_nothing(folder: Path) -> None:
    text = MINIMAL + "description: !!python/object/apply:os.mkdir [ran]\n"
    assert any(
        "r.yaml:13:14: the tag " in problem and "nothing was run" in problem for problem in problems(folder, text)
    )
    assert not (folder / "ran").exists()


def test_dates_and_keys_that_are_no_words(folder: Path) -> None:
    found = problems(folder, MINIMAL + "description: 2024-01-01\n1: 2\n? [a]\n: 3\n")
    assert "r.yaml:13:14: '2024-01-01' is a date; put text in quotes" in found
    assert "r.yaml:14:1: a key must be a word, and this is the value '1'; put it in quotes" in found
    assert "r.yaml:15:3: a key must be a word, and this is a list; put it in quotes" in found


def test_another_schema_is_refused_by_name_and_alone(folder: Path) -> None:
    (problem,) = problems(folder, MINIMAL.replace("schema: 2", "schema: 3\nwhatever: 3"))
    told = "r.yaml:1:1: schema: this recipe has schema 3, and this neurozoo reads the schemas 1 and 2; install"
    assert problem.startswith(told)


# Problems inside


def test_every_problem_is_told_at_once_in_order_of_lines(folder: Path) -> None:
    text = """\
schema: 2
sed: 3
seed: ten
backend: tourch
seed: 4
data:
  name: a/b
  inptus: [audio]
  inputs: [audio, vision, vision]
  standardise: maybe
  valid: {fraction: 1.5}
  expect: {audio: {dim: 0, length: 3}}
model:
  name: smile
  params: {hidden: 31, hiden: 3}
  parts:
    activation: lif
    treshold: disagreement
    scaling: {name: rate-gian, params: {beta: x}}
    fusion: interactive
    head: {name: label-decoder, params: {dropout_at: logit, inner: 0}}
training:
  epochs: 2.5
  epocs: 3
  optimizer: {name: adm, lr: -1}
  rate_penalty: {low: 0.6}
  device: gpu
  best: true
task: {name: multilabel, params: {gamma: -1, decision: sometimes, top_k: 3}}
"""
    keys = (
        "schema, description, seed, backend, data, task, model, training, evaluation, ablations, tune",
        "context, spiking, hidden, heads, spiking_inner, time_steps, dropout, context_dropout, padding, arithmetic",
    )
    found = problems(folder, text, registry=default_registry())
    expected = (
        f"2:1: sed: the recipe has no key 'sed'; there are: {keys[0]}; did you mean 'seed'?",
        "3:1: seed: found the text 'ten'; give a whole number",
        "4:1: backend: no backend is called 'tourch'; there are: ",
        "5:1: key 'seed' is given twice, first in line 3; remove one of the two",
        "7:3: data.name: 'a/b' is a path; give a name here, or the folder as `root`",
        "8:3: data.inptus: data has no key 'inptus'; there are: name, root, ",
        "9:3: data.inputs: 'vision' is named 2 times; name it once",
        "10:3: data.standardise: found the text 'maybe'; give true or false",
        "11:11: data.valid.fraction: 1.5 is too large; give less than 1.0",
        "12:20: data.expect.audio.dim: 0 is too small; give at least 1",
        f"15:24: model.params.hiden: model 'smile' has no parameter 'hiden'; there are: {keys[1]}; did you mean",
        "18:5: model.parts.treshold: model 'smile' has no slot 'treshold'; there are: ",
        "19:15: model.parts.scaling.name: no part is called 'rate-gian'; there are: batch-softmax, none, rate-gain;",
        "21:42: model.parts.head.params.dropout_at: found the text 'logit'; give one of: features, logits",
        "21:61: model.parts.head.params.inner: 0 is too small; give at least 1",
        "23:3: training.epochs: found the number 2.5; give a whole number",
        "24:3: training.epocs: training has no key 'epocs'; there are: ",
        "25:15: training.optimizer.name: found the text 'adm'; give one of: adam, adamax, adamw, bert-adam,",
        "25:26: training.optimizer.lr: -1 is too small; give more than 0.0",
        "26:18: training.rate_penalty.low: 0.6 is above high = 0.5; choose a smaller one",
        "27:3: training.device: found 'gpu'; give auto, cpu, mps, cuda, or cuda:N for one of several",
        "28:3: training.best: found true; give text",
        "29:35: task.params.gamma: -1 is too small; give at least 0",
        "29:46: task.params.decision: found the text 'sometimes'; give one of: fixed, valid, valid-per-label",
        "29:67: task.params.top_k: task 'multilabel' has no parameter 'top_k'; there are: ",
    )
    assert len(found) == len(expected), "\n".join(found)
    for problem, start in zip(found, expected, strict=True):
        assert problem.startswith(f"r.yaml:{start}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=true", "found true; give a whole number"),
        ("training.optimizer.lr=false", "found false; give a number"),
        ("training.optimizer.lr='0.1'", "found the text '0.1'; give a number"),
        ("training.optimizer.lr=.nan", "nan is not a finite number"),
        ("training.epochs=1.0", "found the number 1.0; give a whole number"),
        ("data.inputs=audio", "found the text 'audio'; give a list"),
        ("data.inputs=[]", "it is empty; give at least one entry"),
        ("data.inputs=[1]", "found the number 1; give text"),
        ("training=null", "found null; give a section of keys"),
        ("data.root=3", "found the number 3; give text"),
        ("data.join={text: 3}", "found the number 3; give a list"),
        ("model.parts.fusion=[a]", "found a list; give a section of keys"),
        ("model.parts.fusion.params=3", "found the number 3; give a section of keys"),
        ("task.per_step=1", "found the number 1; give true or false"),
        ("task.outputs=[a, b, a]", "'a' is named 2 times; name it once"),
        ("task.outputs=0", "0 is too small; give at least 1"),
        ("task.outputs=true", "found true; give a list"),
        ("task.outputs=1000000", "1000000 is too large; give at most 131072"),
        ("data.expect={audio: {length: 2}, vision: {dim: 1, length: 2}}", "give one of shape (the axes of a position)"),
        ("data.expect={audio: {dim: 3, length: 2}}", "no shape for vision; there is: audio; add it"),
        ("data.name=null", "no data is named; give the name of an installed data set, or `root`"),
        ("training.optimizer.nme=adam", "training.optimizer has no key 'nme'; there are: name, lr, weight_decay"),
    ],
)
def test_values_of_the_wrong_kind(folder: Path, override: str, words: str) -> None:
    (problem,) = problems(folder, MINIMAL, [override])
    assert problem.startswith(f"command line: {override.partition('=')[0].removesuffix('.params')}")
    assert words in problem


NEEDED = ("data", "task", "model")


def test_what_is_missing_is_told_at_the_section_around_it(folder: Path) -> None:
    missing = [f"r.yaml:1:1: {key}: the recipe needs the key {key!r}, which is missing; add it" for key in NEEDED]
    assert problems(folder, "schema: 2\n") == tuple(missing)
    found = problems(folder, MINIMAL + "tune: {metric: map}\n")
    assert found == ("r.yaml:13:1: tune.space: tune needs the key 'space', which is missing; add it",)


def test_a_metric_that_the_task_does_not_have(folder: Path) -> None:
    text = MINIMAL + "training:\n  best: top_5s\n"
    assert load_recipe(write(folder, text)).training.best == "top_5s"  # names are checked with components
    (problem,) = problems(folder, text, registry=default_registry())
    assert problem.startswith("r.yaml:14:3: training.best: found the text 'top_5s'; give one of: loss, ")
    classes = text.replace("top_5s", "top_5").replace(
        "task: multilabel", "task: {name: multiclass, params: {weights: [1.0, 2.0, 3.0]}}"
    )
    assert load_recipe(write(folder, classes), registry=default_registry()).training.best == "top_5"
    assert "training.best" in problems(folder, classes, ["task.params.top_k=3"], default_registry())[0]


def test_every_problem_of_a_section_is_found_beside_a_wrong_type(folder: Path) -> None:
    found = problems(folder, MINIMAL, ["data.inputs=[audio, audio]", "data.standardise=3"])
    assert len(found) == 2


# Overrides


def test_overrides_reach_parts_and_sections_that_are_not_there(folder: Path) -> None:
    recipe = load_recipe(
        write(folder, MINIMAL),
        [
            "model.parts.threshold.params.kappa=0.2",
            "model.parts.scaling=none",
            "data.instead=mosei-synthetic",
            "data.instead.params.size=64",
            "data.valid.fraction=0.3",
            "training.early_stopping=",
            "seed=1",
            "seed=2",
        ],
        registry=default_registry(),
    )
    assert recipe.model.parts["threshold"].params["kappa"] == 0.2
    assert recipe.model.parts["scaling"].params == {}
    assert recipe.data.instead is not None
    assert recipe.data.instead.params["size"] == 64
    assert recipe.data.valid is not None
    assert recipe.data.valid.fraction == 0.3
    assert recipe.seed == 2


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("abc", "command line: 'abc' is not key=value; write for example training.epochs=3"),
        ("=3", "command line: '=3' is not key=value"),
        ("a..b=3", "command line: 'a..b=3' is not key=value"),
        ("schema.x=3", "command line: schema.x: schema is no section, it is the number 2; set it as a whole"),
        ("seed=[", "command line: seed=1:2: this is not YAML"),
        ("seed=!!python/name:os.system x", "command line: seed: the tag "),
        ("trainng.epochs=3", "command line: trainng: the recipe has no key 'trainng'; there are: "),
        ("training.epocs=3", "command line: training.epocs: training has no key 'epocs'; there are: "),
        ("schema=3", "command line: schema: this recipe has schema 3"),
    ],
)
def test_overrides_that_cannot_be(folder: Path, override: str, words: str) -> None:
    assert problems(folder, MINIMAL, [override])[0].startswith(words)


def test_problems_of_overrides_come_with_those_of_the_file(folder: Path) -> None:
    found = problems(folder, MINIMAL + "x: 1\n", ["training.epochs=0"])
    assert [each.partition(" ")[0] for each in found] == ["r.yaml:13:1:", "command"]


# Components


def test_names_are_checked_and_defaults_filled_in(folder: Path) -> None:
    plain = load_recipe(write(folder, MINIMAL))
    checked = check_names(plain, default_registry())
    assert checked.model.parts["scaling"].params["beta"] == 3.0
    assert checked.model.parts["threshold"].params["kappa"] == 0.1
    assert checked.model.params["hidden"] == 30
    assert checked.origin_of("model.parts.scaling.params.beta") == "r.yaml:10"
    assert checked.origin_of("model.params.hidden") == "default"
    assert check_names(checked, default_registry()) == checked
    assert checked == load_recipe(write(folder, MINIMAL), registry=default_registry())


def test_roles_that_cannot_be(folder: Path) -> None:
    roles = ["model.params.context=audio", "model.params.spiking=[audio, vision, vision]"]
    found = problems(folder, MINIMAL, roles, registry=default_registry())
    assert found == (
        "command line: model.params.context: 'audio' is among the spiking modalities too; name it in one of the two",
        "command line: model.params.spiking: 'vision' is named twice; name it once",
    )


def test_sizes_that_cannot_be_built(folder: Path) -> None:
    (problem,) = problems(folder, MINIMAL, ["model.params.hidden=31"], registry=default_registry())
    assert problem == "command line: model.params.heads: 5 heads do not divide hidden = 31; choose a divisor of 31"


class Part:
    """A component for the tests."""

    LARGEST = 4

    def __init__(
        self,
        layout: object,
        *,
        needed: int,
        size: Annotated[int, Field(ge=1, le=LARGEST)] = 2,
        names: tuple[str, ...] = (),
        rate: float | None = None,
    ) -> None: ...

    @staticmethod
    def check_params(*, needed: int, size: int, **_: object) -> Any:
        if needed > size:
            yield "needed", f"{needed} is more than size = {size}; choose less"


class Fake(Registry):
    """A registry with one component."""

    def __init__(self, target: Any = Part) -> None:
        super().__init__([])
        self._components["fusion", "part"] = Component("fusion", "part", "x:y", "")
        self._owners["fusion", "part"] = "test"
        self.target = target

    def resolve(self, kind: Any, name: str, base: type[Any] | None = None) -> Any:
        self.get(kind, name)
        return self.target


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"needed": 1, "names": ["a"], "rate": 1}, []),
        ({}, [("", "fusion 'part' needs the parameter 'needed' (int); give it under `params`")]),
        ({"needed": True}, [("needed", "found true; give a whole number")]),
        ({"needed": 1, "size": 9}, [("size", "9 is too large; give at most 4")]),
        ({"needed": 1, "names": "a"}, [("names", "found the text 'a'; give a list")]),
        ({"needed": 1, "rate": math.inf}, [("rate", "inf is not a finite number; give one")]),
        (
            {"needed": 1, "nmes": 1},
            [
                (
                    "nmes",
                    "fusion 'part' has no parameter 'nmes'; there are: needed, size, names, rate; "
                    "did you mean 'names'?",
                )
            ],
        ),
        ({"needed": 3}, [("needed", "3 is more than size = 2; choose less")]),
    ],
)
def test_params_are_checked_against_the_class(params: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert list(component_problems("fusion", "part", params, Fake())) == expected


def test_params_are_described_for_people() -> None:
    described = component_params(Part)
    assert [param.type for param in described.values()] == ["int", "int, ge=1, le=4", "tuple[str, ...]", "float | None"]


def test_a_class_whose_annotations_cannot_be_read_is_named() -> None:
    def broken(*, x: NotThere) -> None: ...  # type: ignore[name-defined] # noqa: F821

    ((param, problem),) = component_problems("fusion", "part", {}, Fake(broken))
    assert param == ""
    assert "cannot be read (name 'NotThere' is not defined)" in problem


def test_reading_recipes_imports_no_torch() -> None:
    code = (
        "import sys; from neurozoo.recipe.recipe import load_recipe\n"
        "from neurozoo.recipe.shipped import shipped_recipes\n"
        "print(len([load_recipe(name) for name in shipped_recipes()]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, torch = done.stdout.split()
    assert int(count) >= 6
    assert torch == "False"


def test_every_field_of_a_section_is_documented() -> None:
    from neurozoo.recipe import schema

    sections = [each for each in map(vars(schema).get, schema.__all__) if each is not schema.Section]
    assert DataSection in sections
    for section in [*sections, Recipe]:
        for name in section.model_fields:  # type: ignore[union-attr]
            assert f"{name}:" in (section.__doc__ or ""), f"{section}: {name}"


@pytest.mark.parametrize("name", ["full", "../elsewhere", ".hidden", "a/b"])
def test_an_ablation_names_a_folder_of_its_own(name: str) -> None:
    with pytest.raises(RecipeError, match="ablations"):
        load_recipe("smile_mosei", [f'ablations={{"{name}": [seed=2]}}'])


# Search spaces

TUNE = """\
tune:
  metric: map
  pruning: median
  space:
    training.optimizer.lr: {low: 1.0e-4, high: 1, log: true}
    model.params.hidden: {values: [20, 40]}
    model.params.heads: {values: [4, 5]}
    model.parts.threshold: {values: [constant, disagreement]}
    training.batch_size: {low: 32, high: 250, step: 32}
"""


def test_a_search_space_is_read_and_decides_nothing(folder: Path) -> None:
    plain = load_recipe(write(folder, MINIMAL), registry=default_registry())
    # Neither 20 of the hidden nor 4 heads go with what the recipe has, but with each other.
    recipe = load_recipe(write(folder, MINIMAL + TUNE), registry=default_registry())
    assert recipe.digest == plain.digest
    assert recipe.tune is not None
    space = recipe.tune.space
    assert list(space) == [line.split(":")[0].strip() for line in TUNE.splitlines()[4:]]
    assert [entry.whole for entry in space.values()] == [False, False, False, False, True]
    assert space["model.parts.threshold"].values == ("constant", "disagreement")
    assert recipe.origin_of("tune.space.training.optimizer.lr.low") == "r.yaml:17"
    assert load_recipe(write(folder, recipe.to_yaml(), "again.yaml")) == recipe


def test_every_problem_of_a_search_space_is_told_at_its_line(folder: Path) -> None:
    text = (
        MINIMAL
        + """\
tune:
  metric: mAP
  space:
    training.lr: {low: 0.1, high: 0.2}
    training.optimizer: {values: [adam]}
    training.optimizer.lr: {low: 0.1, high: 0.2}
    model.params.hidden: {values: [20, 40.5]}
    model.params.heads: {values: [7]}
    model.parts.head.params.inner: {values: [0]}
    model.parts.threshold: {values: [constan]}
    training.batch_size: {low: 32.0, high: 256}
    training.epochs: {low: 5, high: 4}
    training.accumulate: {low: 1}
    task.params.label_smoothing: {low: 0.0, high: 0.4, log: true}
    training.gradient_clip: {low: 1.0, high: 2.0, step: 3}
    training.early_stopping: {low: 1, high: 9, step: 0.5}
    model.params.dropout: {low: many, high: true}
    training.best: {values: [map, map]}
    training.scheduler.name: {low: 1, high: 2, values: [none]}
    training.threads: {values: []}
    seed: {low: 1, high: 9}
    data.valid.seed: {low: 1, high: 9}
    data: {values: [{}]}
    training..x: {values: [1]}
"""
    )
    expected = (
        "14:3: tune.metric: found the text 'mAP'; give one of: loss, accuracy, ",
        "16:5: tune.space.training.lr: training has no key 'lr'; there are: epochs, ",
        "17:5: tune.space.training.optimizer: found the text 'adam'; give a section of keys",
        "18:5: tune.space.training.optimizer.lr: it lies within 'training.optimizer', which is in the space as well",
        "19:5: tune.space.model.params.hidden: found the number 40.5; give a whole number",
        "20:5: tune.space.model.params.heads: 7 heads do not divide hidden = ",
        "21:5: tune.space.model.parts.head.params.inner: 0 is too small; give at least 1",
        "22:5: tune.space.model.parts.threshold: no part is called 'constan'; there are: ",
        "23:5: tune.space.training.batch_size: found the number 32.0; give a whole number",
        "24:23: tune.space.training.epochs.low: 5 is not below high = 4; choose a smaller one",
        "25:27: tune.space.training.accumulate.low: there is no whole range; give low and high, or values",
        "26:35: tune.space.task.params.label_smoothing.low: 0.0 has no logarithm; give more than 0, or leave out log",
        "27:51: tune.space.training.gradient_clip.step: 3 does not lead from 1.0 to 2.0; choose one in between",
        "28:48: tune.space.training.early_stopping.step: 0.5 leads to numbers that are not whole, and low and high are",
        "29:28: tune.space.model.params.dropout.low: found the text 'many'; give a number",
        "29:39: tune.space.model.params.dropout.high: found true; give a number",
        '30:21: tune.space.training.best.values: "map" is named 2 times; name it once',
        "31:48: tune.space.training.scheduler.name.values: there is low, high as well; give a range or values",
        "32:24: tune.space.training.threads.values: it is empty; give at least one entry",
        "33:5: tune.space.seed: seed cannot be tuned: the luckiest seed is no better model; leave it out",
        "34:5: tune.space.data.valid.seed: data.valid cannot be tuned: trials on other samples cannot be compared",
        "35:5: tune.space.data: data.name cannot be tuned: trials on other samples cannot be compared; leave it out",
        "36:5: tune.space.training..x: 'training..x' is no path such as training.epochs",
    )
    found = problems(folder, text, registry=default_registry())
    for problem, start in zip(found, expected, strict=False):
        assert problem.startswith(f"r.yaml:{start}")
    assert len(found) == len(expected), "\n".join(found)


@given(
    st.one_of(
        st.none(),
        st.booleans(),
        WHOLE,
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs", "S"]), max_size=8),
        st.lists(st.sampled_from(["a", "null", "1", 2, 0.5, True]), max_size=3),
    )
)
def test_an_override_reads_back(value: Any) -> None:
    text = override("model.params.x", value)
    content: dict[str, Any] = {"model": {"params": {}}}
    assert not list(apply_override(content, Origins(""), text))
    read = content["model"]["params"]["x"]
    assert (read, type(read)) == (value, type(value))


def test_the_fastest_backend_is_resolved_once() -> None:
    registry = default_registry()
    expected = registry.fastest_backend("cpu")
    for options in ({"backend": "fastest"}, {"overrides": ["backend=fastest"]}):
        recipe = load_recipe("smile_mosei_corrected", registry=registry, **options)  # type: ignore[arg-type]
        assert recipe.backend == expected
        assert recipe.content["backend"] == expected
        assert "fastest" not in recipe.to_yaml()
        assert recipe.was_fastest
    plain = load_recipe("smile_mosei_corrected", registry=registry)
    assert plain.backend == expected
    assert re.fullmatch(r"(recipes/)?smile_mosei_corrected\.yaml:\d+", plain.origin_of("backend"))
    unchecked = load_recipe("smile_mosei_corrected")
    assert unchecked.backend == "fastest"
    assert unchecked == load_recipe("smile_mosei_corrected", backend="fastest")
    assert not load_recipe("smile_mosei_corrected", backend="torch", registry=registry).was_fastest


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_fast_where_a_fused_backend_is_installed(name: str) -> None:
    path = shipped_path(name)
    assert path is not None
    assert "\nbackend: fastest\n" in path.read_text(encoding="utf-8")


def test_without_a_fused_backend_a_recipe_is_that_of_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = default_registry()
    fused = [name for name, each in registry.components("neuron").items() if each.fused]
    monkeypatch.setattr(registry, "usable_backends", lambda: sorted({*registry.usable("neuron")} - {*fused}))
    for name in ("smile_mosei", "smile_mosei_corrected"):
        recipe = load_recipe(name, registry=registry)
        assert recipe.digest == load_recipe(name, backend="torch", registry=registry).digest
    monkeypatch.setattr("neurozoo.training.train.dry_run", lambda recipe: {"backend": recipe.backend})
    assert main(["train", "smile_mosei", "--dry-run"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("note: backend fastest is torch here")
    assert "backend: torch" in shown.out
    assert main(["train", "smile_mosei", "--dry-run", "--backend", "torch"]) == 0
    assert not capsys.readouterr().err


def test_outputs_may_be_named_by_their_number(folder: Path) -> None:
    recipe = load_recipe(write(folder, MINIMAL), ["task.outputs=3"])
    assert recipe.task.outputs == ("0", "1", "2")
    again = load_recipe(write(folder, recipe.to_yaml(), "again.yaml"))
    assert again.task == recipe.task
    assert again.digest == recipe.digest
