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
from neurozoo.core.signals import Batch, Signal
from neurozoo.errors import RunError
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.loading import TrainedModel
from neurozoo.runs.packed import CARD, MANIFEST, RECIPE, SCHEMA, WEIGHTS, read_packed
from neurozoo.runs.shipped_models import shipped_model, shipped_models
from neurozoo.runs.trained_folder import open_trained

MODELS = sorted(shipped_models())
FIRST = ["emotions-corrected"]
"""Packed by the first schema; later ones read the trains of :func:`bits`."""
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


def bits(model: TrainedModel, samples: int) -> Batch:
    """Return signals of 0 and 1 in float64, about one of 19, which any machine computes alike."""
    signals = {}
    for name, shape in model.module.problem.signals.items():
        b, t, d = torch.meshgrid(*map(torch.arange, (samples, shape.length, shape.dim)), indexing="ij")
        values = (((b + 2) * t * t + 3 * (b + 1) * d + d * d) % 19 == 0).double()
        signals[name] = Signal(values.reshape(samples, shape.length, *shape.shape))
    return Batch(signals)


def test_there_are_models_and_backends_to_look_at() -> None:
    assert "emotions-corrected" in MODELS
    assert set(MODELS) == set(PINNED)
    assert "torch" in BACKENDS


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(FIRST)))
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name in ("torch", "numba")])
def test_it_answers_as_ever(name: str, backend: str) -> None:
    """In float64, in which no rounding moves a membrane over its threshold."""
    pinned = PINNED[name]
    model = neurozoo.load(name, backend=backend)
    model.module.double()
    with recorded(model.module) as firings, torch.no_grad():
        found = model.task.predict(model.module(bits(model, len(pinned["probabilities"]))))
    found = found.mean(1) if model.task.per_step else found
    torch.testing.assert_close(found, torch.tensor(pinned["probabilities"]).double(), rtol=0, atol=1e-6)
    spikes = {each: firings[each].spikes.transpose(0, 1).flatten(1).sum(1).int().tolist() for each in pinned["spikes"]}
    assert spikes == pinned["spikes"]


@pytest.mark.parametrize("name", FIRST)
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
    assert recipe.schema_version == 2
    if name not in FIRST:
        return
    assert "schema: 1\n" in (folder / RECIPE).read_text()
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


def test_its_name_works_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("zoo", None):
        assert main(["list", *([] if kind is None else [kind]), "--json"]) == 0
        assert sorted(each["name"] for each in json.loads(capsys.readouterr().out)["zoo"]) == MODELS
    assert main(["show", "emotions-corrected"]) == 0
    assert capsys.readouterr().out.startswith("---\nlicense:")
    assert main(["show", "emotions-corrected", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == read_packed(folder_of("emotions-corrected")).files
    # Its importer has the same name.
    assert main(["show", "qtdb"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("importer qtdb:")
    assert "\n# qtdb\n" in shown
    assert main(["show", "qtdb", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in shown["components"]] == ["importer"]
    assert shown["model"]["files"] == read_packed(folder_of("qtdb")).files
    assert main(["show", "emotions-corrected", "seed=2"]) == 2
    assert "is a trained model; overrides and --backend are for recipes" in capsys.readouterr().err
    sample = {"features": {"timbre": [[0.0] * 64], "rhythm": [[1.0] * 8]}}
    (tmp_path / "in.jsonl").write_text(json.dumps(sample))
    assert main(["predict", "emotions-corrected", "in.jsonl"]) == 0
    assert set(json.loads(capsys.readouterr().out)["probabilities"]) == set(neurozoo.load("emotions-corrected").outputs)
    assert main(["predict", "emotion-corrected", "in.jsonl"]) == 2
    assert f"models that come with neurozoo: {', '.join(MODELS)}" in capsys.readouterr().err


def test_a_folder_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emotions-corrected").mkdir()
    with pytest.raises(RunError, match="not a run folder"):
        neurozoo.load("emotions-corrected")


def test_without_the_backend_that_it_was_trained_on_it_runs_on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = default_registry()
    known = dict(registry.components("neuron"))
    trained = {name: load_recipe(folder_of(name) / RECIPE).backend for name in MODELS}
    assert "numba" in trained.values()
    monkeypatch.setattr(type(registry), "components", lambda self, kind: {"torch": known["torch"]})
    for name in MODELS:
        assert open_trained(folder_of(name)).recipe.backend == "torch"
