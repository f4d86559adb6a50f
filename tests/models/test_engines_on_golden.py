"""Engines on the published models with their authors' weights and inputs: each layer against the oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neurozoo.compare.engine_layers import LayerAgreement, calls_of, compare_layer
from neurozoo.core.recording import frozen_statistics, neuron_layers
from neurozoo.models.engines import use_engine
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.testing.golden import Golden, GoldenCase, GoldenFile

FOLDER = Path(__file__).parents[1] / "golden" / "zoo"
FILES = sorted(path.name for path in FOLDER.glob("*.safetensors"))
ENGINES = [name for name in default_registry().usable("engine") if name != "dense"]
ReadGolden = Callable[[Path], tuple[GoldenCase, GoldenFile]]


def test_there_are_files_and_an_engine() -> None:
    assert FILES
    assert ENGINES, "install plugins/neurozoo-events"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("engine", ENGINES)
def test_layers_are_the_oracles(name: str, engine: str, tmp_path: Path, read_golden: ReadGolden) -> None:
    case, file = read_golden(FOLDER / name)
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"schema": 2, **case.recipe(file.header)}))
    golden = Golden(case, file, load_recipe(path, registry=default_registry()))
    (model, _), (other, _) = golden.model(), golden.model()
    batch = case.batch(file, 1)
    layers = neuron_layers(model.eval())
    with torch.no_grad(), frozen_statistics(model), case.given(model, file, 1), calls_of(model) as calls:
        expected = model(batch)
    plan = use_engine(other.eval(), engine)
    found, judged = LayerAgreement(), 0
    for each in plan.layers:
        if each.runs != "dense" and each.name in calls:
            runner = neuron_layers(other)[each.name].runner
            assert runner is not None
            agreement = compare_layer(layers[each.name], runner, calls[each.name])
            assert (agreement.unordered, agreement.beyond) == (0, 0), f"{each.name}: {agreement}"
            found, judged = found + agreement, judged + 1
    assert judged
    assert found.difference < 1e-5
    with torch.no_grad(), frozen_statistics(other), case.given(other, file, 1):
        torch.testing.assert_close(other(batch), expected, rtol=1e-3, atol=1e-3)
