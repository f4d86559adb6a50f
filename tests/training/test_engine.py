"""Precision, torch.compile and processes, as far as one process on a CPU can show them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed

from neurozoo.core.kinds import LIFSpec
from neurozoo.core.layer import SpikingLayer, TorchNeuron
from neurozoo.errors import RecipeError, UserError
from neurozoo.recipe.recipe import Recipe
from neurozoo.runs.checkpoint import read_tensors
from neurozoo.runs.run import Run
from neurozoo.training.train import dry_run, resume, train

Recipes = Callable[..., Recipe]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(Run(run).last)[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::torch")  # Dynamo meets its own deprecated ways
def test_compiled_training_is_the_same(tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without generating code, which takes minutes: what is looked at is that the forward can be traced whole.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    # Attention is for some samples at a time where it is not compiled, and drops other weights.
    once = "training.epochs=1", "model.params.dropout=0.0", "model.parts.head.params.dropout=0.0"
    train(recipe("training.compile=true", *once), out=tmp_path / "compiled")
    train(recipe(*once), out=tmp_path / "plain")
    for one, other in zip(Run(tmp_path / "compiled").records(), Run(tmp_path / "plain").records(), strict=True):
        assert one["train"] == pytest.approx(other["train"], rel=1e-5)
        assert one["valid"]["loss"] == pytest.approx(other["valid"]["loss"], rel=1e-4)


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("16-mixed", marks=pytest.mark.slow)])
def test_mixed_precision_is_another_training_that_comes_back(
    precision: str, tmp_path: Path, recipe: Recipes, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    checked = recipe(f"training.precision={precision}", "training.checkpoint_steps=1")
    train(checked, out=tmp_path / "mixed")
    train(recipe(), out=tmp_path / "plain")
    losses = [[record["train"]["loss"] for record in Run(tmp_path / name).records()] for name in ("mixed", "plain")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    weighed = {name: x for name, x in weights(tmp_path / "mixed").items() if name.endswith((".weight", ".bias"))}
    assert {x.dtype for name, x in weighed.items() if not name.startswith("threshold.")} == {torch.float32}

    with interrupted_at(3):
        train(checked, out=tmp_path / "run")
    resume(tmp_path / "run")
    assert Run(tmp_path / "run").last.read_bytes() == Run(tmp_path / "mixed").last.read_bytes()


def test_membranes_are_in_float32_under_mixed_precision() -> None:
    layer = SpikingLayer(TorchNeuron(LIFSpec(tau=2.0)))
    # In bfloat16 the second step's membrane, 0.501 + 0.2505 = 0.7515, would be rounded to 0.75.
    currents = torch.full((2, 1, 1), 1.002)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(currents, torch.tensor(0.7512)).flatten().tolist() == [0.0, 1.0]
        assert layer(currents.bfloat16(), 0.7512).dtype is torch.float32
    assert layer(currents.bfloat16(), 0.7512).dtype is torch.bfloat16


def test_a_dry_run_takes_the_recipe_s_precision(recipe: Recipes) -> None:
    changes = ["model.params.dropout=0.0"]
    plain, mixed = (dry_run(recipe(*changes, f"training.precision={name}")) for name in ("32-true", "bf16-mixed"))
    assert plain["loss"] != mixed["loss"]


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun says to one of eight processes."""
    for name, value in (("WORLD_SIZE", "8"), ("LOCAL_WORLD_SIZE", "8"), ("RANK", "0"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: True)


@pytest.mark.usefixtures("eight")
def test_what_does_not_go_with_several_processes(
    tmp_path: Path, recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="8 processes train into one run folder that all see; give it as --out"):
        train(recipe())
    with pytest.raises(UserError, match=r"training.batch_size is 4, .* and there are 8 processes; start fewer"):
        train(recipe("training.batch_size=4"), out=tmp_path / "run")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=r"training.device is 'cuda:1', and 8 processes would share it"):
        train(recipe("training.device=cuda:1"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unknown_precision_is_refused(recipe: Recipes) -> None:
    with pytest.raises(RecipeError, match="did you mean 'bf16-mixed'"):
        recipe("training.precision=bf16-mixd")
