"""Models on a hub: pushed, loaded by their address, pulled and listed, with and without a network."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neurozoo
from neurozoo.cli import main
from neurozoo.errors import CheckpointError, FetchError, NeurozooWarning, RunError, UserError
from neurozoo.hub.publishing import pull, push, remote_models
from neurozoo.runs.from_hub import address_of
from neurozoo.runs.packed import read_packed
from neurozoo.runs.shipped_models import shipped_model
from neurozoo.testing.local_hub import TOKEN, Repository

# huggingface_hub hands files to its http library by an older word.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
FILES = {"README.md", "model.safetensors", "neurozoo.json", "recipe.yaml"}


@pytest.fixture
def shipped() -> Path:
    folder = shipped_model("emotions-corrected")
    assert folder is not None
    return folder


@pytest.fixture
def pushed(fake_hub: Any, shipped: Path) -> str:
    """The address of a small model on the hub, without a revision."""
    push(shipped, "ada/emotions")
    return "hf://ada/emotions"


def edit_card(fake_hub: Any, name: str = "ada/emotions") -> str:
    repository = fake_hub.repositories[name]
    _, files = repository.versions[-1]
    return str(repository.commit(files | {"README.md": b"# edited on the hub", "picture.png": b"x" * 100}))


def test_a_run_is_pushed_loaded_and_predicts_the_same(
    fake_hub: Any, trained_once: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_once(1)
    assert main(["push", str(run), "ada/small", "--licence", "MIT", "--private", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    repository = fake_hub.repositories["ada/small"]
    (commit, files), private = repository.versions[-1], repository.private
    assert (set(files), private) == (FILES, True)
    assert made["address"] == f"hf://ada/small@{commit}"
    assert {name: len(content) for name, content in files.items()} == made["files"]

    model, local = neurozoo.load(made["address"]), neurozoo.load(run)
    shapes = local.module.problem.signals
    signals = {name: torch.randn(2, 5, *shape.shape) for name, shape in shapes.items()}
    assert torch.equal(model.predict(signals), local.predict(signals))
    assert model.source.packed is not None
    assert model.source.packed.licence == "MIT"


def test_commands_take_the_address(pushed: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = tmp_path / "one.jsonl"
    signals = {name: [[0.0] * dim] for name, dim in (("timbre", 64), ("rhythm", 8))}
    lines.write_text(json.dumps({"id": "a", "signals": signals}))
    assert main(["predict", pushed, str(lines)]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "a"
    assert main(["show", pushed]) == 0
    assert "# smile" in capsys.readouterr().out


def test_a_pulled_folder_is_the_one_that_was_pushed(
    pushed: str, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pull", "ada/emotions"]) == 0
    assert "pulled: packed/emotions, commit " in capsys.readouterr().out
    folder = tmp_path / "packed" / "emotions"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in shipped.iterdir() if path.name in FILES
    }
    assert not any(path.is_symlink() for path in folder.iterdir())
    read_packed(folder)
    with pytest.raises(RunError, match="already there and not empty"):
        pull(pushed)


def test_a_revision_stays_what_it_was(fake_hub: Any, pushed: str, trained_once: Callable[[int], Path]) -> None:
    first, _ = fake_hub.repositories["ada/emotions"].versions[-1]
    push(trained_once(1), "ada/emotions")
    assert neurozoo.load(pushed).recipe.name != neurozoo.load(f"{pushed}@{first}").recipe.name
    with pytest.raises(RunError, match="no revision 'v9'; give a branch, tag or commit"):
        neurozoo.load(f"{pushed}@v9")


# What may differ, and what not


def test_an_edited_card_is_said_and_loads(fake_hub: Any, pushed: str, capsys: pytest.CaptureFixture[str]) -> None:
    edit_card(fake_hub)
    with pytest.warns(NeurozooWarning, match=r"hf://ada/emotions: README\.md was changed after the model was packed"):
        model = neurozoo.load(pushed)
    assert {path.name for path in model.source.folder.iterdir()} == FILES


@pytest.mark.filterwarnings("default::neurozoo.errors.NeurozooWarning")
def test_the_command_line_prints_it_as_a_note(fake_hub: Any, pushed: str, capsys: pytest.CaptureFixture[str]) -> None:
    edit_card(fake_hub)
    assert main(["show", pushed]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("note: hf://ada/emotions: README.md was changed after the model was packed; weights")
    assert "edited on the hub" in printed.out


def test_a_card_that_was_removed_is_said_and_loads(fake_hub: Any, pushed: str) -> None:
    repository = fake_hub.repositories["ada/emotions"]
    repository.commit({name: each for name, each in repository.versions[-1][1].items() if name != "README.md"})
    with pytest.warns(NeurozooWarning, match=r"README\.md is missing after the model was packed"):
        neurozoo.load(pushed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model.safetensors": b"other"}, r"hf://ada/emotions: commit \w{12}: differs .*model.safetensors was changed"),
        ({"recipe.yaml": b"other"}, r"hf://ada/emotions: commit \w{12}: differs .*recipe.yaml was changed"),
        ({"neurozoo.json": b"{"}, r"hf://ada/emotions: neurozoo.json: cannot be read as JSON"),
    ],
)
def test_what_is_computed_from_must_be_as_it_was_packed(
    change: dict[str, bytes], said: str, fake_hub: Any, pushed: str, tmp_path: Path
) -> None:
    repository = fake_hub.repositories["ada/emotions"]
    repository.commit(repository.versions[-1][1] | change)
    with pytest.raises(CheckpointError, match=said):
        neurozoo.load(pushed)
    assert not list((tmp_path / "hf-home" / "assets").rglob("model.safetensors"))
    assert not list((tmp_path / "hf-home" / "assets").rglob("*.partial"))


def test_a_local_folder_with_an_edited_card_loads_and_can_be_pushed(
    fake_hub: Any, shipped: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(shipped, tmp_path / "mine"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# mine")
    with pytest.warns(NeurozooWarning, match=r"mine: README\.md was changed"):
        neurozoo.load(folder)
    push(folder, "ada/mine")
    assert fake_hub.repositories["ada/mine"].versions[-1][1]["README.md"].endswith(b"# mine")
    with pytest.raises(UserError, match="is packed already, with its licence and notes"):
        push(folder, "ada/mine", licence="MIT")


# The cache, and no network


def test_a_commit_in_the_cache_needs_no_network(fake_hub: Any, pushed: str) -> None:
    commit, _ = fake_hub.repositories["ada/emotions"].versions[-1]
    neurozoo.load(f"{pushed}@{commit}")
    fake_hub.requests.clear()
    neurozoo.load(f"{pushed}@{commit}")
    assert fake_hub.requests == []


def test_offline_the_cache_answers_and_says_so(fake_hub: Any, pushed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    neurozoo.load(pushed)
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fake_hub.requests.clear()
    shutil.rmtree(constants.HF_ASSETS_CACHE)  # the packed copy is made again from the library's own cache
    with pytest.warns(NeurozooWarning, match=r"hf://ada/emotions: the hub cannot be reached; this is commit \w{12}"):
        neurozoo.load(pushed)
    assert fake_hub.requests == []
    with pytest.raises(FetchError, match="hf://ada/other: the hub cannot be reached, and the model is not in the cach"):
        neurozoo.load("hf://ada/other")
    with pytest.raises(FetchError, match="hf://ada/-: the hub cannot be reached"):
        remote_models("ada")


def test_a_hub_that_is_gone_is_no_network(fake_hub: Any, shipped: Path) -> None:
    fake_hub.server.shutdown()
    fake_hub.server.server_close()
    with pytest.raises(FetchError, match="hf://ada/other: the hub cannot be reached, and the model is not in the cach"):
        neurozoo.load("hf://ada/other")
    assert main(["push", str(shipped), "ada/other"]) == 1


# Refusals


def test_what_the_hub_refuses_is_said(
    fake_hub: Any, pushed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="hf://ada/nothing: the hub has no such model, or it is private"):
        neurozoo.load("hf://ada/nothing")
    fake_hub.repositories["ada/emotions"].gated = True
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    assert main(["show", pushed]) == 2
    assert "its owner gives access on request" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"hf://ada/new: the hub .*log in with `hf auth login`"):
        push(Path(str(shipped_model("emotions-corrected"))), "ada/new")
    fake_hub.broken = True
    with pytest.raises(FetchError, match=r"the hub answers with status 418 .*; try again later"):
        remote_models("ada")


def test_a_model_of_another_library_is_refused(fake_hub: Any) -> None:
    fake_hub.repositories["ada/bert"] = repository = Repository()
    repository.commit({"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(RunError, match=r"no model that neurozoo packed, which has a neurozoo.json; it has: config"):
        neurozoo.load("hf://ada/bert")


@pytest.mark.parametrize("address", ["hf://ada", "hf://ada/b/c", "hf://ada/b@", "hf:/../x", "hf://ada/b c"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="is no address of a model; give hf://USER/NAME"):
        neurozoo.load(address)
    with pytest.raises(UserError, match="is no"):
        push("runs/x", address)


def test_an_address_survives_being_a_path() -> None:
    assert str(address_of(Path("hf://ada/b@refs/pr/1"))) == "hf://ada/b@refs/pr/1"
    assert address_of("ada/b") is None


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, shipped: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "huggingface_hub" else sys)
    for call in (lambda: neurozoo.load("hf://a/b"), lambda: push(shipped, "a/b"), lambda: remote_models("a")):
        with pytest.raises(UserError, match="need the library huggingface_hub, which is not installed"):
            call()


# Lists


def test_a_users_models_are_listed(
    fake_hub: Any, pushed: str, trained_once: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    push(trained_once(1), "ada/small", private=True)
    push(trained_once(1), "bob/small")
    assert main(["list", "--hub", "ada", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["hub"]
    assert [(each["name"], each["private"], each["address"]) for each in found] == [
        ("ada/emotions", False, "hf://ada/emotions"),
        ("ada/small", True, "hf://ada/small"),
    ]
    assert main(["list", "zoo", "--hub", "ada"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "micro F1 0." in lines[0] or "accuracy (mean Jaccard index) 0." in lines[0]
    assert lines[1].endswith("private")
    assert main(["list", "--hub", "nobody"]) == 0
    assert "nobody has no models of neurozoo" in capsys.readouterr().out
    assert main(["list", "recipes", "--hub", "ada"]) == 2


# Secrets


def test_a_token_is_sent_and_never_shown_logged_or_kept(
    fake_hub: Any, shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert main(["push", str(shipped), "ada/emotions"]) == 0
        assert main(["pull", "ada/emotions", "--out", str(tmp_path / "out")]) == 0
        fake_hub.broken = True
        assert main(["push", str(shipped), "ada/emotions"]) == 1
    assert TOKEN in fake_hub.tokens
    printed = capsys.readouterr()
    assert TOKEN not in printed.out + printed.err + caplog.text
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert kept == []
