"""Files of authors' own trainings become packed models: layouts, names, and what is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import neurozoo
from neurozoo.cli import main
from neurozoo.errors import CheckpointError, DataError, UserError
from neurozoo.hub.import_weights import import_weights
from neurozoo.models.by_name import NAME, variants
from neurozoo.recipe.recipe import load_recipe
from neurozoo.registry.registry import default_registry
from neurozoo.runs.packed import read_packed
from neurozoo.testing.golden import Golden, GoldenCase, GoldenFile

FOLDER = Path(__file__).parents[1] / "golden" / "zoo"
GOLDEN = FOLDER / "spikegpt.safetensors"
SMALL = ["model.params.width=24", "model.params.depth=2", "model.params.dropout=0"]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    with safe_open(GOLDEN, framework="pt") as file:
        return {
            key.removeprefix("weights/"): file.get_tensor(key)
            for key in file.keys()  # noqa: SIM118
            if key.startswith("weights/")
        }


def imported(file: Path, out: Path, **options: Any) -> Any:
    return import_weights("spikegpt-18-768", file, out, SMALL, **{"outputs": 30, **options})


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "plain": lambda weights: weights,
    "DataParallel": lambda weights: {f"module.{name}": value for name, value in weights.items()},
    "compiled": lambda weights: {"model": {f"_orig_mod.module.{name}": each for name, each in weights.items()}},
    "a training's": lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"state": {}}},
    "parameters": lambda weights: {name: torch.nn.Parameter(value) for name, value in weights.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ["pth", "pth.tar"])
def test_a_torch_file_becomes_a_packed_model(
    weights: dict[str, Tensor], layout: str, ending: str, tmp_path: Path
) -> None:
    file = tmp_path / f"theirs.{ending}"
    torch.save(LAYOUTS[layout](weights), file, _use_new_zipfile_serialization=ending == "pth")
    made = imported(file, tmp_path / "packed")
    assert len(made.taken) == len(weights)
    model = neurozoo.load(tmp_path / "packed", backend="numba")
    with safe_open(GOLDEN, framework="pt") as golden:
        outputs = model.module(golden.get_tensor("batch2/x"))
        torch.testing.assert_close(outputs, golden.get_tensor("batch2/train/logits"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.safetensors")))
def test_weights_of_every_published_model_become_a_packed_model_of_their_size(
    name: str, read_golden: Callable[[Path], tuple[GoldenCase, GoldenFile]], tmp_path: Path
) -> None:
    case, file = read_golden(FOLDER / name)
    recipe = {"schema": 2, **case.recipe(file.header)}
    (tmp_path / "theirs.yaml").write_text(json.dumps(recipe))
    golden = Golden(case, file, load_recipe(tmp_path / "theirs.yaml", registry=default_registry()))
    theirs = file.under("weights/")
    torch.save({"epoch": 7, "state_dict": LAYOUTS["DataParallel"](theirs)}, tmp_path / "theirs.pth.tar")
    made = import_weights(*_as_size(golden.recipe.content, tmp_path))
    model, taken = golden.model()
    assert {**made.taken} == taken.names
    assert made.taken.keys() >= dict(model.named_parameters()).keys()
    assert set(made.taken.values()) | made.left.keys() == theirs.keys()
    assert all(made.left.values())
    card = (made.folder / "README.md").read_text().replace("\\", "")
    assert all(each in card for each in made.left)
    loaded = neurozoo.load(made.folder).module.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for here, value in model.state_dict().items():
        assert torch.equal(loaded[here], value), here


def _as_size(recipe: dict[str, Any], folder: Path) -> tuple[str, Path, Path, list[str]]:
    """Return the arguments that import weights into the model of a recipe, by a published size and overrides."""
    model, task = recipe["model"], recipe["task"]
    size = next(each for each, of, variant in variants() if of == model["name"] and variant.neuron is None)
    ((_, shape),) = recipe["data"]["expect"].items()
    overrides = [f"model.params.{each}={json.dumps(value)}" for each, value in model.get("params", {}).items()]
    overrides += [f"model.parts.{slot}={json.dumps(part)}" for slot, part in model.get("parts", {}).items()]
    overrides += [f"task={json.dumps(task)}", f"data.expect.{NAME}={json.dumps(shape)}"]
    return size, folder / "theirs.pth.tar", folder / "packed", overrides


def test_a_safetensors_file_becomes_one_too(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "theirs.safetensors")
    made = imported(tmp_path / "theirs.safetensors", tmp_path / "packed", licence="BSD-2-Clause")
    packed = read_packed(made.folder)
    assert packed.licence == "BSD-2-Clause"
    assert packed.summary["imported"]["sha256"] == made.sha256
    card = (made.folder / "README.md").read_text()
    assert "with weights that its authors trained" in card
    assert "Nothing was trained or measured here" in card


def test_what_is_not_loaded_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": {**weights, "version": 4}}, tmp_path / "theirs.pth")
    made = imported(tmp_path / "theirs.pth", tmp_path / "packed")
    assert made.left == {"version": "no tensor"}
    assert "version" in (made.folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda w: w | {"emb.position": torch.ones(3)}, "'emb.position' is no tensor of the published SpikeGPT"),
        (lambda w: {name: each for name, each in w.items() if name != "head.weight"}, "nothing for head.weight"),
        (lambda w: w | {"head.weight": torch.ones(31, 24)}, r"has the shape \[31, 24\] and 'head.weight' needs"),
        (lambda w: w | {"blocks.2.ln1.bias": torch.ones(24)}, "which this size of the model does not have"),
        (lambda w: {"mine": w, "yours": w}, "give their place with --key, which may be one of: mine, yours"),
        (lambda w: [1, 2], "holds list, and not weights by name"),
    ],
)
def test_weights_of_something_else_are_refused_and_nothing_is_written(
    weights: dict[str, Tensor], change: Callable[[dict[str, Tensor]], Any], problem: str, tmp_path: Path
) -> None:
    torch.save(change(weights), tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=problem):
        imported(tmp_path / "theirs.pth", tmp_path / "packed")
    assert [each.name for each in tmp_path.iterdir()] == ["theirs.pth"]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (lambda value: value * float("nan"), "'head.weight' holds values that are no finite numbers"),
        (lambda value: value.double() * 1e300 * 1e5, "'head.weight' holds values that are no finite numbers"),
        (lambda value: value.double().sign() * 1e300, "'head.weight' holds values that are no finite numbers"),
        (lambda value: value.to(torch.complex64), "'head.weight' holds complex numbers"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(
    wrong: Callable[[Tensor], Tensor], problem: str, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({**weights, "head.weight": wrong(weights["head.weight"])}, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match=problem):
        imported(tmp_path / "theirs.pth", tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_a_model_is_no_size(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match="its published sizes are: spikegpt-18-768"):
        import_weights("spikegpt", tmp_path / "theirs.pth", tmp_path / "packed")


def test_a_place_in_the_file_can_be_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"ema": {"shadow": weights}, "state_dict": {"x": torch.ones(2)}}, tmp_path / "theirs.pth")
    made = imported(tmp_path / "theirs.pth", tmp_path / "packed", key="ema.shadow")
    assert len(made.taken) == len(weights)
    with pytest.raises(CheckpointError, match="there is no 'shade' in it; there is: shadow"):
        imported(tmp_path / "theirs.pth", tmp_path / "again", key="ema.shade")


def test_a_file_that_would_run_something_is_refused(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return print, ("harm",)

    (tmp_path / "theirs.pth").write_bytes(pickle.dumps({"state_dict": {"emb.weight": Harm()}}))
    with pytest.raises(DataError, match="print"):
        imported(tmp_path / "theirs.pth", tmp_path / "packed")


def test_a_model_without_authors_is_refused(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(2)}, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match="recurrent is no published model"):
        import_weights("recurrent", tmp_path / "theirs.pth", tmp_path / "packed")


def test_the_command(weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": weights}, tmp_path / "theirs.pth")
    command = ["weights", "import", "spikegpt-18-768", str(tmp_path / "theirs.pth"), *SMALL, "--outputs", "30"]
    assert main([*command, "--out", str(tmp_path / "packed"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["form"] == "published"
    assert len(answer["taken"]) == len(weights)
    assert main([*command, "--out", str(tmp_path / "packed")]) == 2
    assert "already there and not empty" in capsys.readouterr().err
