"""How a recipe says what a model sees of a signal: one representation, or several in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from neurozoo.errors import RecipeError
from neurozoo.models.build import open_experiment
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.registry.registry import default_registry

TEXT = """\
schema: 2
data:
  name: events-synthetic
  represent:
    events: {represent}
task: multiclass
model: {{name: spiking-convnet, parts: {{neuron: lif}}}}
"""
BINS = "{name: bins, params: {step: 0.01}}"


def read(folder: Path, represent: str, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(TEXT.format(represent=represent))
    return load_recipe(path, overrides, registry=default_registry())


def test_each_form_stays_as_it_is_and_gets_its_defaults(tmp_path: Path) -> None:
    one, several = read(tmp_path, BINS), read(tmp_path, f"[downsample, {BINS}]")
    bins = {"step": 0.01, "steps": None, "rounding": "floor", "values": "counts", "dtype": "float32", "valid": "all"}
    assert one.content["data"]["represent"]["events"] == {"name": "bins", "params": bins}
    assert several.content["data"]["represent"]["events"] == [
        {"name": "downsample", "params": {"factor": 2}},
        {"name": "bins", "params": bins},
    ]
    assert [each.name for each in several.data.representations["events"]] == ["downsample", "bins"]
    for recipe in (one, several):
        (tmp_path / "again.yaml").write_text(recipe.to_yaml())
        assert load_recipe(tmp_path / "again.yaml", registry=default_registry()) == recipe
    assert read(tmp_path, "downsample").content["data"]["represent"]["events"]["params"] == {"factor": 2}


def test_a_parameter_can_be_overridden_and_tuned(tmp_path: Path) -> None:
    space = "tune={space: {data.represent.events.params.step: {values: [0.01, 0.02]}}}"
    recipe = read(tmp_path, BINS, "data.represent.events.params.step=0.02", space)
    assert recipe.data.representations["events"][0].params["step"] == 0.02
    assert str(open_experiment(recipe).problem.signals["events"]) == "[5, 2, 16, 16]"


@pytest.mark.parametrize(
    ("represent", "problem"),
    [
        ("bins", r"recipe.yaml:5:.* representation 'bins' needs the parameter 'step'"),
        ("bings", r"recipe.yaml:5:.* no representation .*'bings'.*mean 'bins'"),
        ("[]", r"data.represent.events: it is empty; give at least one entry"),
        ("3", r"data.represent.events"),
        (BINS.replace("step:", "stpe:"), r"data.represent.events.params.stpe: .*did you mean 'step'"),
        (f"[{BINS}, {{nme: crop}}]", r"data.represent.events.1.nme: .* has no key 'nme'; there are: name, params"),
        (BINS.replace("}}", "}, when: now}"), r"data.represent.events has no key 'when'; there are: name, params"),
        (BINS.replace("0.01", "-1"), r"recipe.yaml:5:.*data.represent.events.params.step: .* give more than 0"),
    ],
)
def test_a_problem_has_its_line(tmp_path: Path, represent: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        read(tmp_path, represent)
