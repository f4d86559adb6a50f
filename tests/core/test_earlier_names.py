"""Everything that was called something else in earlier versions is found by that name, and is what it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

import neurozoo
from neurozoo.cli import main
from neurozoo.core.earlier_names import EARLIER, current_name
from neurozoo.core.published import Quirk
from neurozoo.data.store import Store
from neurozoo.errors import NeurozooWarning, UserError
from neurozoo.hub.import_weights import import_weights
from neurozoo.models.by_name import model_recipe
from neurozoo.recipe.recipe import Recipe, load_recipe
from neurozoo.recipe.shipped import shipped_recipes
from neurozoo.reporting.runs.run_contents import read_runs
from neurozoo.runs.run import Run
from neurozoo.runs.shipped_models import shipped_model, shipped_models
from neurozoo.runs.table import runs_below
from neurozoo.training.own_recipe import recipe_for_store
from neurozoo.training.train import resume, train

NOTED = {
    "smile_mosei_sound": ("torch", "bc2fbfd34158c9414ec434b7b7adae0168758d75ead717218a8fa958d602e58b"),
    "cuba_rsnn_shd_sound": ("torch", "e7a38b9dc5c6f49f450f2c08e96cc3f59634005fb754f5548a9ad3352735e251"),
    "sparch_shd_sound": ("torch", "70fcc40975225e1ae6b30bf83129d207ecafa9c4bc53c48ca7cffd88ae8584c1"),
    "cuba_rsnn_braille": ("fastest", "89924f217e33dee59ce80c7718d94ec26156ec3ba73658c12679af2a5406dca2"),
    "smile_emotions": ("torch", "851badb20a931bcd53d8bbccedb14527a4e6c8bb0deb790341378efb3df502d9"),
}
"""The backend that the version before named in its shipped recipes, and their digests that it noted."""
NOW, BEFORE = "SMILE, corrected variant, on NEMu", "SMILE, sound variant, on NEMu"
as_notes = pytest.mark.filterwarnings("default::neurozoo.errors.NeurozooWarning")
renamed = pytest.mark.filterwarnings("ignore:the (recipe|trained model|form) .* is now called")


def test_the_table_is_of_what_there_is() -> None:
    recipes, models = shipped_recipes(), shipped_models()
    assert {*EARLIER["recipe"].values()} <= {name for name in recipes if name.endswith("_corrected")}
    assert {*EARLIER["trained model"].values()} <= {*models}
    assert not {*recipes, *models} & {*EARLIER["recipe"], *EARLIER["trained model"]}
    assert {*EARLIER["description"].values()} <= {text for text in recipes.values() if "corrected" in text}
    assert current_name("recipe", "mine") == "mine"


@renamed
@pytest.mark.parametrize(("name", "backend", "digest"), [(name, *noted) for name, noted in NOTED.items()])
def test_a_recipe_has_the_digest_that_was_noted(name: str, backend: str, digest: str) -> None:
    recipe = load_recipe(name, backend=backend)
    assert recipe.digest == digest
    assert recipe.name == EARLIER["recipe"].get(name, name)
    assert "sound" not in recipe.description


def test_a_recipe_is_found_by_its_earlier_name(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "smile_nemu_corrected.yaml").write_text("description: a clone's\n")
    monkeypatch.chdir(tmp_path)
    note = "the recipe smile_nemu_sound is now called smile_nemu_corrected"
    for name in ("smile_nemu_sound", "smile_nemu_sound.yaml"):
        with pytest.warns(NeurozooWarning, match=note):
            assert load_recipe(name) == load_recipe("smile_nemu_corrected")
    with (
        pytest.warns(NeurozooWarning, match=note),
        pytest.raises(UserError, match=r"recipes/smile_nemu_corrected\.yaml"),
    ):
        load_recipe("recipes/smile_nemu_sound.yaml")
    with pytest.warns(NeurozooWarning, match="the recipe smile_mosei_sound"):
        text = recipe_for_store("smile_mosei_sound", str(store)).text
    assert "description: smile_mosei_corrected, for the data" in text


def test_a_file_of_the_users_keeps_its_name(tmp_path: Path) -> None:
    """And its words: only the descriptions of shipped recipes changed."""
    text = load_recipe("smile_mosei").to_yaml()
    words = "sound and vision, sound variant"
    path = tmp_path / "smile_mosei_sound.yaml"
    path.write_text(text.replace("description: SMILE as published", f"description: {words}; SMILE as published"))
    recipe = load_recipe(path)
    assert recipe.name == "smile_mosei_sound"
    assert recipe.description.startswith(words)


@as_notes
@pytest.mark.parametrize(
    ("command", "note"),
    [
        ("show smile_mosei_sound --json", "the recipe smile_mosei_sound is now called smile_mosei_corrected"),
        ("show emotions-sound --json", "the trained model emotions-sound is now called emotions-corrected"),
    ],
)
def test_a_command_line_is_noted_in_one_line(command: str, note: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command.split()) == 0
    printed = capsys.readouterr()
    assert printed.err == f"note: {note}\n"
    assert json.loads(printed.out)


@as_notes
def test_a_dry_run_by_the_earlier_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    small = ["data.instead.params.size=64", "training.threads=1"]
    assert main(["train", "smile_mosei_sound", *small, "--dry-run"]) == 0
    assert capsys.readouterr().err.count("is now called smile_mosei_corrected") == 1
    assert main(["weights", "import", "spikformer-4-384", str(tmp_path / "none.pth"), "--sound"]) == 2
    assert "note: the option --sound is now called --corrected\n" in capsys.readouterr().err


def test_a_form_by_its_earlier_name(tmp_path: Path) -> None:
    form = pytest.warns(NeurozooWarning, match="the form sound is now called corrected")
    with form:
        earlier = model_recipe("lsnn-evidence", form="sound")  # type: ignore[arg-type]
    assert earlier == model_recipe("lsnn-evidence", form="corrected") == model_recipe("lsnn-evidence")
    with form, pytest.raises(Exception, match=r"none\.pth"):
        import_weights("lsnn-evidence", tmp_path / "none.pth", tmp_path / "out", form="sound")  # type: ignore[arg-type]
    with form:
        trained = neurozoo.create_model("emotions-corrected", pretrained=True, form="sound")  # type: ignore[arg-type]
    assert not trained.training
    with pytest.warns(NeurozooWarning, match="the argument sound is now called corrected"):
        quirk = Quirk(published="raw", sound="normalised", effect="e")  # type: ignore[call-arg]
    assert quirk == Quirk("raw", "normalised", "e") == Quirk(published="raw", corrected="normalised", effect="e")


def test_a_shipped_model_by_its_earlier_name() -> None:
    """Its recipe is the file that was packed, which has the earlier words."""
    folder = shipped_model("emotions-corrected")
    assert folder is not None
    assert "sound variant" in (folder / "recipe.yaml").read_text()
    now = neurozoo.load("emotions-corrected")
    assert now.recipe.description == "SMILE, corrected variant, on emotions (moods of 593 songs)"
    with pytest.warns(NeurozooWarning, match="the trained model emotions-sound is now called emotions-corrected"):
        earlier = neurozoo.load("emotions-sound")
    torch.manual_seed(0)
    features = {"timbre": torch.randn(3, 1, 64), "rhythm": torch.randn(3, 1, 8)}
    assert torch.equal(earlier.predict(features), now.predict(features))


def as_before(run: Path, folder: Path) -> Path:
    """Copy a run as the version before would have left it."""
    shutil.copytree(run, folder)
    for path in folder.glob("*.*"):
        if path.suffix in (".yaml", ".json"):
            text = path.read_text().replace(NOW, BEFORE)
            path.write_text(text.replace('"recipe": "small"', '"recipe": "smile_nemu_sound"'))
    assert "smile_nemu_sound" in (folder / "run.json").read_text()
    return folder


def test_a_run_of_before_predicts_the_same(store: Path, trained: Path, tmp_path: Path) -> None:
    folder = as_before(trained, tmp_path / "before")
    assert "smile_nemu_sound" in (folder / "summary.json").read_text()
    assert Run(folder).recipe().name == "smile_nemu_corrected"
    assert [run.recipe for run in read_runs([folder])] == ["smile_nemu_corrected"]
    (row,) = runs_below(tmp_path / "before")
    assert row["recipe"] == "smile_nemu_corrected"
    before, now = neurozoo.load(folder), neurozoo.load(trained)
    batch = Store(store).split("test").batch(torch.arange(5))
    features = {name: each.values for name, each in batch.signals.items()}
    masks = {name: each.mask for name, each in batch.signals.items()}
    assert torch.equal(before.predict(features, masks), now.predict(features, masks))


def test_a_run_of_before_is_resumed(
    recipe: Callable[..., Recipe], tmp_path: Path, interrupted_at: Callable[[int], AbstractContextManager[None]]
) -> None:
    with interrupted_at(6):
        train(recipe(f"description={NOW}", "training.epochs=2"), out=tmp_path / "now")
    folder = as_before(tmp_path / "now", tmp_path / "before")
    assert BEFORE in (folder / "recipe.yaml").read_text()
    assert Run(folder).recipe() == Run(tmp_path / "now").recipe()
    here, there = resume(folder), resume(tmp_path / "now")
    assert here["metrics"] == there["metrics"]
    assert here["recipe_digest"] == there["recipe_digest"]
