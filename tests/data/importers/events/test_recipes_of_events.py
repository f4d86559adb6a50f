"""The shipped recipes of event data sets see what they expect, of stores as the importers make them."""

from __future__ import annotations

import re

import pytest

from neurozoo.core.shapes import SignalShape
from neurozoo.recipe.recipe import load_recipe
from neurozoo.recipe.shipped import shipped_path, shipped_recipes
from neurozoo.registry.registry import default_registry

SENSORS = {
    "shd": (700,),
    "ssc": (700,),
    "n-mnist": (2, 34, 34),
    "cifar10-dvs": (2, 128, 128),
    "dvs128-gesture": (2, 128, 128),
}
NAMES = [
    name
    for name in sorted(shipped_recipes())
    if re.search("_(shd|ssc|n_mnist|dvs128_gesture|cifar10_dvs)(_corrected)?$", name)
]


def test_there_are_recipes_of_each() -> None:
    assert len(NAMES) > 25


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_s_representation_gives_what_it_expects(name: str) -> None:
    registry = default_registry()
    data = load_recipe(name, registry=registry).data
    assert data.name is not None
    assert data.expect is not None
    ((signal, expected),) = data.expect.items()
    shape = SignalShape.events(SENSORS[data.name], 300_000)
    shape = SignalShape(**{**shape.__dict__, "span": 1_400_000 if signal == "spikes" else 6_000_000})
    for each in data.representations[signal]:
        shape = registry.resolve("representation", each.name)(**each.params).shape(shape)
    assert (shape.shape, shape.dtype) == (expected.axes, expected.dtype)
    if not shape.ragged:
        assert shape.length == expected.length


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_s_head_has_the_command_that_makes_its_store(name: str) -> None:
    path = shipped_path(name)
    assert path is not None
    found = re.search(
        r"^# Import:   neurozoo data import (\S+) FOLDER STORE( --valid 0)?$",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert found is not None
    assert default_registry().resolve("importer", found[1]) is not None
