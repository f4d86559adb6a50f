"""The models that come with neurozoo: found by name anywhere, whole, and saying for ever what they say."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import neurozoo
from neurozoo.cli import main
from neurozoo.core.recording import recorded
from neurozoo.errors import RunError
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.packed import CARD, MANIFEST, RECIPE, SCHEMA, WEIGHTS, read_packed
from neurozoo.runs.shipped_models import shipped_model, shipped_models

MODELS = sorted(shipped_models())
BACKENDS = default_registry().usable_backends()
PINNED = json.loads((Path(__file__).parents[1] / "golden" / "zoo.json").read_text())
ROUNDING = 1e-5
"""How far a probability may be off. Sums of float32 round otherwise from one processor or torch to the next, and
those of float64 are off by 1e-7. The inputs are such that no membrane comes nearer than 1e-3 to its threshold, so that
rounding flips no spike, and their counts are exact."""
PLACES = re.compile(r"""(?:^|[\s"'=(\[])(?:/[A-Za-z_]|[A-Za-z]:\\|~/)""", re.MULTILINE)
"""Paths of one machine."""


def folder_of(name: str) -> Path:
    folder = shipped_model(name)
    assert folder is not None
    return folder


def waves(model: TrainedModel, phase: float, samples: int) -> dict[str, Tensor]:
    """``[B, 1, D]`` by modality: the training data's mean and twice its deviation times a sine of the place."""
    state, features = model.module.state_dict(), {}
    for number, (name, shape) in enumerate(model.module.problem.signals.items(), start=1):
        mean, deviation = (state[f"standardise.{name}.{each}"].double().flatten() for each in ("mean", "std"))
        sines = [[math.sin(phase + 1.7 * b + 0.37 * number * d) for d in range(shape.dim)] for b in range(samples)]
        features[name] = (mean + 2 * deviation * torch.tensor(sines, dtype=torch.float64)).float()[:, None]
    return features


def test_there_are_models_and_backends_to_look_at() -> None:
    assert "emotions-sound" in MODELS
    assert set(MODELS) == set(PINNED)
    assert "torch" in BACKENDS


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_it_says_what_it_always_said(name: str, backend: str) -> None:
    pinned = PINNED[name]
    model = neurozoo.load(name, backend=backend)
    with recorded(model.module) as firings:
        found = model.predict(waves(model, pinned["phase"], len(pinned["probabilities"])))
    torch.testing.assert_close(found, torch.tensor(pinned["probabilities"]), rtol=0, atol=ROUNDING)
    counts = {layer: firing.spikes.sum((0, 2, 3)).int().tolist() for layer, firing in firings.items()}
    renamed = {"activation1.lif": "first", "activation2.lif": "second"}
    expected = {layer.replace(old, new): n for layer, n in pinned["spikes"].items() for old, new in renamed.items()}
    assert counts == {layer: n for layer, n in expected.items() if layer.endswith(("first", "second"))}


@pytest.mark.parametrize("name", MODELS)
def test_its_recipe_loads_and_every_schema_is_read(name: str) -> None:
    folder = folder_of(name)
    packed = read_packed(folder)
    assert packed.files[WEIGHTS] == PINNED[name]["weights"]
    assert packed.schema <= SCHEMA
    recipe = load_recipe(folder / RECIPE, registry=default_registry())  # every name and parameter is still known
    assert "schema: 1\n" in (folder / RECIPE).read_text()
    assert recipe.schema_version == 2
    _, metadata = read_tensors(folder / WEIGHTS)
    assert metadata["schema"] == 2
    assert (metadata["labels"], metadata["dims"]) == (packed.labels, packed.dims)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_small_and_names_no_place(name: str) -> None:
    folder = folder_of(name)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    assert load_recipe(folder / RECIPE).data.root is None
    assert "run" not in read_packed(folder).summary
    for name in (MANIFEST, RECIPE, CARD):
        assert not PLACES.findall((folder / name).read_text())


def test_places_would_be_seen() -> None:
    assert PLACES.findall('"/data/x" a=/mnt/y ~/z C:\\w') == ['"/d', "=/m", " ~/", " C:\\"]


@pytest.mark.parametrize("name", MODELS)
def test_the_page_shows_the_cards_numbers(name: str) -> None:
    packed = read_packed(folder_of(name))
    assert packed.seeds is not None
    summary, over_seeds = packed.summary, packed.seeds["metrics"]["test"]["micro_f1"]
    cells = [
        f"`{name}`",
        packed.description,
        str(packed.data["origin"]["source"]),
        str(summary["seed"]),
        f"{summary['metrics']['test']['micro_f1']:.3f}",
        f"{over_seeds['mean']:.3f} ({over_seeds['low']:.3f} to {over_seeds['high']:.3f})",
        f"{summary['lesion']['permuted']['test']:.3f}",
    ]
    page = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text()
    assert f"| {' | '.join(cells)} |" in page.splitlines()


def test_its_name_works_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("zoo", None):
        assert main(["list", *([] if kind is None else [kind]), "--json"]) == 0
        assert [each["name"] for each in json.loads(capsys.readouterr().out)["zoo"]] == MODELS
    assert main(["show", "emotions-sound"]) == 0
    assert capsys.readouterr().out.startswith("---\nlicense:")
    assert main(["show", "emotions-sound", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == read_packed(folder_of("emotions-sound")).files
    assert main(["show", "emotions-sound", "seed=2"]) == 2
    assert "is a trained model; overrides and --backend are for recipes" in capsys.readouterr().err
    sample = {"features": {"timbre": [[0.0] * 64], "rhythm": [[1.0] * 8]}}
    (tmp_path / "in.jsonl").write_text(json.dumps(sample))
    assert main(["predict", "emotions-sound", "in.jsonl"]) == 0
    assert set(json.loads(capsys.readouterr().out)["probabilities"]) == set(neurozoo.load("emotions-sound").outputs)
    assert main(["predict", "emotion-sound", "in.jsonl"]) == 2
    assert "models that come with neurozoo: emotions-sound" in capsys.readouterr().err


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emotions-sound").mkdir()
    with pytest.raises(RunError, match="not a run folder"):
        neurozoo.load("emotions-sound")
